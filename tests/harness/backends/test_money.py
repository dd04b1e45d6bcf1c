"""Money: what costs something, what is known of its price, and that a limit is never passed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from estimator.price_list import Price
from harness.errors import HarnessError
from harness.money import prices
from harness.opening import lanes
from harness.plan import Plan, Shape
from harness.purse import Purse
from harness.record import Record
from harness.simulated.law import Faults, Law
from harness.simulated.serving import serving
from harness.summary import run_cost_usd
from harness.target import Door
from tests.harness.backends.scripted import STREAM, Got, delta, scripted
from tests.harness.backends.serving import QUICK, door_to, plan_of
from tests.harness.making import run_plan

pytestmark = pytest.mark.slow

ELSEWHERE = Door(base_urls={"http": "http://192.0.2.1/v1"})
HERE = Door(base_urls={"http": "http://127.0.0.1:1/v1", "ollama": "http://127.0.0.1:1"})
PRICE = Price(100.0, None, 400.0, "given")
KEY = ("http", "mistral", "")


def asked(plan: Plan, door: Door, accepted: bool = False) -> tuple[list[Price], float | None, str]:
    """The prices found, the purse's limit, and what is said before the run."""
    found, purse, lines = prices(lanes(plan, door), plan, door, accepted)
    return list(found.values()), purse.limit_usd, "\n".join(lines)


def test_a_server_elsewhere_of_unknown_price_is_refused_unless_that_is_accepted() -> None:
    plan = plan_of(["http"])
    with pytest.raises(HarnessError, match=r"the price of mistral at 192\.0\.2\.1 is unknown: give --price-in"):
        asked(plan, ELSEWHERE)
    assert asked(plan, ELSEWHERE, accepted=True) == ([], None, "")


def test_a_limit_cannot_be_kept_where_the_price_is_unknown() -> None:
    with pytest.raises(HarnessError, match="--max-cost cannot be kept"):
        asked(replace(plan_of(["http"]), max_cost_usd=1.0), ELSEWHERE, accepted=True)


def test_a_given_price_is_said_with_what_the_plan_costs_and_where_it_stops() -> None:
    plan = replace(plan_of(["http"], repeats=9), price_in=100.0, price_out=400.0)
    found, limit, said = asked(plan, ELSEWHERE)
    assert (found, limit) == ([PRICE], 2.0)
    # Nine requests and a warm-up of 12 tokens in and 6 out.
    assert "the plan costs about 0.0360 USD" in said
    assert "stops before it costs more than 2.00 USD (default; change it with --max-cost)" in said


def test_openais_prices_are_found_at_openai_and_nowhere_else() -> None:
    plan = Plan(("openai",), ("gpt-4",), shapes=(Shape(12, 6),))
    (price,), limit, _ = asked(plan, Door(base_urls={"openai": "https://api.openai.com/v1"}))
    assert (price.input_usd_per_mtok, price.output_usd_per_mtok, limit) == (30.0, 60.0, 2.0)
    with pytest.raises(HarnessError, match="is unknown"):
        asked(plan, Door(base_urls={"openai": "http://192.0.2.1/v1"}))


def test_another_provider_behind_langchain_is_paid_for_by_its_own_prices_wherever_openais_url_points() -> None:
    plan = Plan(("langchain",), ("anthropic:claude-3-5-haiku-latest",), shapes=(Shape(12, 6),))
    (price,), _, _ = asked(plan, Door())
    assert "anthropic" in price.source


def test_servers_on_this_machine_cost_nothing() -> None:
    assert asked(plan_of(["http", "ollama"]), HERE) == ([], None, "")


def test_a_price_that_is_given_holds_for_a_gateway_on_this_machine() -> None:
    plan = replace(plan_of(["http", "ollama"]), price_in=100.0, price_out=400.0, max_cost_usd=0.5)
    assert asked(plan, HERE)[:2] == ([PRICE], 0.5)


def generated_usd(log: Path) -> float:
    """What the server's own log says was done, at the price."""
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    done = [entry for entry in entries if entry["status"] == 200]
    return sum(PRICE.cost_usd(entry["prompt_tokens"], entry["output_tokens"]) for entry in done)


@pytest.mark.parametrize("faults", [Faults(), Faults(missing_usage=True), Faults(die_after_tokens=3, fail_every=3)])
@pytest.mark.parametrize("limit_usd", [0.0, 0.05, 0.4])
def test_the_limit_is_never_passed_by_eight_streams_at_once(tmp_path: Path, limit_usd: float, faults: Faults) -> None:
    plan = plan_of(["http"], (Shape(12, 6, concurrency=8),), repeats=200)
    purse, log = Purse(limit_usd), tmp_path / "log"

    async def run() -> Record:
        async with serving(Law(decode_s_per_token=0.001), faults, slots=8, log=log) as url:
            return await run_plan(tmp_path / "run", plan, door_to(url, ["http"]), money=(purse, {KEY: PRICE}))

    record = asyncio.run(run())
    assert record.ends[-1].reason == "money"
    assert "raise --max-cost" in record.ends[-1].detail
    assert generated_usd(log) <= purse.spent_usd <= limit_usd
    assert purse.reserved_usd == 0
    if limit_usd == 0.4 and not faults.missing_usage:
        # Eight requests hold up to 0.24 USD at once, which the ninth cannot have.
        assert purse.spent_usd > 0.1
    if faults == Faults():
        cost = run_cost_usd(record)
        told_usd = cost[0] if cost else 0.0
        assert told_usd == pytest.approx(generated_usd(log)), "every request that was paid for is on record"


def test_a_request_that_was_sent_and_got_no_answer_may_have_cost_all_of_its_reservation(tmp_path: Path) -> None:
    async def silent(_: Got) -> AsyncIterator[bytes]:
        yield b""

    async def stops(_: Got) -> AsyncIterator[bytes]:
        yield STREAM + delta(" one")

    async def spent(answer: object, folder: Path) -> float:
        purse = Purse(10.0)
        async with scripted(answer) as url:  # type: ignore[arg-type]
            await run_plan(folder, plan_of(["http"]), door_to(url, ["http"]), money=(purse, {KEY: PRICE}))
        return purse.spent_usd

    assert asyncio.run(spent(silent, tmp_path / "1")) > 0
    assert asyncio.run(spent(stops, tmp_path / "2")) > 0


def test_requests_that_were_refused_cost_nothing(tmp_path: Path) -> None:
    purse = Purse(10.0)

    async def run() -> None:
        async with serving(QUICK, Faults(http_status=500)) as url:
            await run_plan(tmp_path, plan_of(["http"]), door_to(url, ["http"]), money=(purse, {KEY: PRICE}))

    asyncio.run(run())
    assert purse.spent_usd == 0


@pytest.mark.slow
def test_a_run_that_its_money_ends_has_an_exit_status_of_its_own(tmp_path: Path) -> None:
    async def run() -> tuple[int | None, str, str]:
        async with serving(QUICK, slots=2) as url:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "harness", "run", "--backend", "http", "--base-url", f"{url}/v1",
                "--model", "mistral", "--prompt-tokens", "12", "--output-tokens", "6", "--repeats", "500",
                "--price-in", "100", "--price-out", "400", "--max-cost", "0.2", "--results", "out",
                cwd=tmp_path, env=os.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, err = await asyncio.wait_for(process.communicate(), 60)
            return process.returncode, out.decode(), err.decode()

    status, out, err = asyncio.run(run())
    assert status == 9, err
    assert "cost by the server's own counts: 0." in out
    assert "stops before it costs more than 0.20 USD (--max-cost)" in err
    assert err.strip().splitlines()[-1].startswith("error: the next request could cost")
