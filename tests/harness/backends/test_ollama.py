"""Ollama: its models come, load and go as they were found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.backends import Call, NotThere
from harness.backends.ollama import open_ollama
from harness.backends.ollama_models import server_url
from harness.errors import HarnessError
from harness.journal import read_record
from harness.plan import Plan, Shape
from harness.record import Record
from harness.simulated.law import NO_FAULTS, Faults, Law
from harness.simulated.serving import serving
from harness.summary import loaded, rows
from harness.target import Door, synthetic_target
from harness.watch import Watcher
from harness.weights.build import write_model
from harness.wire.tap import RequestFailed
from tests.harness.backends.serving import QUICK, Listener, counted_all, door_to, measured, plan_of
from tests.harness.making import run_plan
from tests.harness.test_run import StopsAfter
from tests.harness.test_weights import TINY

pytestmark = pytest.mark.slow


def test_a_run_records_what_ollama_says_of_itself_its_counts_and_its_durations(tmp_path: Path) -> None:
    record = measured(tmp_path, "ollama")
    (subject,) = record.subjects
    assert (subject.engine, subject.engine_version, subject.remote) == ("ollama", "0.24.0", False)
    assert subject.client.startswith("ollama ")
    assert subject.model["details"]["quantization_level"] == "Q4_K_M"
    assert subject.model["info"]["llama.block_count"] == 32
    assert subject.options["num_ctx"] == 256
    for request in counted_all(record):
        assert (request.usage.prompt_tokens, request.usage.output_tokens) == (12, 6)
        assert request.claimed is not None
        assert (request.claimed.prompt_tokens, request.claimed.output_tokens) == (12, 6)
        assert request.timings.decode_s == pytest.approx(5 * QUICK.decode_s_per_token)


def test_loading_the_model_is_a_phase_of_its_own_and_no_part_of_what_is_counted(tmp_path: Path) -> None:
    law = Law(load_s=0.2, decode_s_per_token=0.0005)
    record = measured(tmp_path, "ollama", law, load_on_request=True)
    assert [request.phase for request in record.requests] == ["load", "warmup", "counted", "counted"]
    assert record.requests[0].timings.load_s == pytest.approx(0.2, abs=0.01)
    assert {request.timings.load_s for request in counted_all(record)} == {0.0}
    assert loaded(record)[0].cold_load_s == pytest.approx(0.2, abs=0.01)


def test_a_model_that_is_loaded_already_is_unloaded_first_so_that_loading_is_seen(tmp_path: Path) -> None:
    record = measured(tmp_path, "ollama", Law(load_s=0.1))
    assert record.requests[0].timings.load_s == pytest.approx(0.1, abs=0.01)


Step = Callable[[httpx.AsyncClient], Awaitable[Any]]


def left_behind(folder: Path, before: Step | None, faults: Faults = NO_FAULTS) -> dict[str, Any]:
    """What /api/ps says of each loaded model after a run, with something done before it."""

    async def run() -> dict[str, Any]:
        async with (
            serving(QUICK, faults, slots=2, load_on_request=True) as url,
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
        ):
            if before is not None:
                await before(client)
            await run_plan(folder, plan_of(["ollama"]), door_to(url, ["ollama"]))
            return {model["name"]: model for model in (await client.get("/api/ps")).json()["models"]}

    return asyncio.run(run())


def test_a_model_that_was_not_loaded_before_is_not_loaded_afterwards(tmp_path: Path) -> None:
    assert left_behind(tmp_path, None) == {}


@pytest.mark.parametrize(("keep", "least_s", "most_s"), [("100s", 80, 101), (-1, 1e9, 1e12)])
def test_a_model_that_was_loaded_before_stays_for_as_long_as_it_would_have(
    tmp_path: Path, keep: Any, least_s: float, most_s: float
) -> None:
    from datetime import UTC, datetime

    async def load(client: httpx.AsyncClient) -> None:
        await client.post("/api/generate", json={"model": "mistral", "prompt": "", "keep_alive": keep})

    (entry,) = left_behind(tmp_path, load).values()
    rest_s = (datetime.fromisoformat(entry["expires_at"]) - datetime.now(UTC)).total_seconds()
    assert least_s < rest_s < most_s


def test_a_server_that_fails_to_unload_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="HTTP 500: simulated fault"):
        left_behind(tmp_path, None, Faults(http_status=500))
    assert read_record(tmp_path).ends[-1].reason == "failed"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_model(path, TINY, "Q4_0", seed=1)
    return path


SYNTHETIC = Plan(("ollama",), shapes=(Shape(12, 6),), sample_per_s=0)


def test_our_weight_free_model_is_there_for_the_run_and_gone_afterwards(tmp_path: Path, tiny: Path) -> None:
    target = replace(synthetic_target("tinyllama", "Q4_0"), path=tiny)
    assert target.served == "yardstick-tinyllama-1.1b-q4-0:weight-free"
    assert during_and_after(tmp_path, target.served, tiny) == ([target.served], [])


@pytest.mark.parametrize("ends", [RuntimeError, RequestFailed, asyncio.CancelledError])
def test_our_weight_free_model_is_gone_however_the_run_ends(
    tmp_path: Path, tiny: Path, ends: type[BaseException]
) -> None:
    served = synthetic_target("tinyllama", "Q4_0").served
    assert during_and_after(tmp_path, served, tiny, ends) == ([served], [])


def during_and_after(
    folder: Path, served: str, tiny: Path, ends: type[BaseException] | None = None
) -> tuple[list[str], list[str]]:
    """The server's models of that name while our model is open, and afterwards."""
    target = replace(synthetic_target("tinyllama", "Q4_0"), path=tiny)

    async def run() -> tuple[list[str], list[str]]:
        async with serving(QUICK) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:

            async def installed() -> list[str]:
                return [m["name"] for m in (await client.get("/api/tags")).json()["models"] if m["name"] == served]

            door = Door(base_urls={"ollama": url}, weights="synthetic")
            call = Call(target, SYNTHETIC, door, folder / "log", lambda: 0, Watcher())
            during: list[str] = []
            try:
                async with open_ollama(call) as opened:
                    during = await installed()
                    facts = await opened.backend.describe()
                    assert facts.exact
                    assert facts.model == target.facts
                    if ends is not None:
                        raise ends("planted")
            except (RuntimeError, RequestFailed, asyncio.CancelledError):
                pass
            return during, await installed()

    return asyncio.run(run())


def test_where_our_model_cannot_be_removed_the_user_is_told_how(tmp_path: Path, tiny: Path) -> None:
    listener = Listener()
    target = replace(synthetic_target("tinyllama", "Q4_0"), path=tiny)

    async def run() -> None:
        async with serving(QUICK) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            door = Door(base_urls={"ollama": url}, weights="synthetic")
            async with open_ollama(Call(target, SYNTHETIC, door, tmp_path / "log", lambda: 0, listener)):
                await client.request("DELETE", "/api/delete", json={"model": target.served})

    asyncio.run(run())
    assert any(f"`ollama rm {target.served}`" in note for note in listener.notes)


def test_a_run_that_is_interrupted_restores_the_server(tmp_path: Path) -> None:
    async def run() -> list[Any]:
        async with (
            serving(QUICK, slots=2, load_on_request=True) as url,
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
        ):
            with pytest.raises(asyncio.CancelledError):
                await run_plan(tmp_path, plan_of(["ollama"]), door_to(url, ["ollama"]), StopsAfter(1))
            return list((await client.get("/api/ps")).json()["models"])

    assert asyncio.run(run()) == []
    assert read_record(tmp_path).ends[-1].reason == "interrupted"


def pulled(folder: Path, model: str, pull: bool) -> Record:
    async def run() -> Record:
        async with serving(QUICK) as url:
            plan = replace(plan_of(["ollama"]), models=(model,))
            return await run_plan(folder, plan, replace(door_to(url, ["ollama"]), pull=pull))

    return asyncio.run(run())


def test_a_model_that_is_missing_is_named_with_the_line_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="has no model llama3.2:1b: `ollama pull llama3.2:1b`, or give --pull"):
        pulled(tmp_path, "llama3.2:1b", pull=False)


def test_a_model_that_is_missing_is_downloaded_where_that_was_asked(tmp_path: Path) -> None:
    assert rows(pulled(tmp_path, "llama3.2:1b", pull=True))[0].requests == 2


def test_a_model_that_nobody_has_cannot_be_downloaded(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="could not pull nobodys:1b: .*file does not exist"):
        pulled(tmp_path, "nobodys:1b", pull=True)


def test_where_no_server_answers_the_line_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="no Ollama server answers at http://127.0.0.1:9: start one with `ollama serve`"):
        asyncio.run(run_plan(tmp_path, plan_of(["ollama"]), Door(base_urls={"ollama": "http://127.0.0.1:9"})))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434"),
        (":9999", "http://127.0.0.1:9999"),
        ("https://far.example", "https://far.example:443"),
        ("http://near:80/", "http://near:80"),
        ("near/behind:a/proxy", "http://near:11434/behind:a/proxy"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:9999", "http://[::1]:9999"),
        ("http://fe80::1/", "http://[fe80::1]:11434"),
        ("[::]", "http://[::1]:11434"),
    ],
)
def test_the_servers_address_is_read_as_ollama_reads_it(given: str, url: str) -> None:
    assert server_url(given) == url


@pytest.mark.parametrize("given", ["host:abc", "host:99999", "[::1", "ftp://host", "ho\x01st", "me:secret@host:abc"])
def test_what_is_no_address_of_a_server_is_refused_without_repeating_a_password(given: str) -> None:
    with pytest.raises(HarnessError, match="write OLLAMA_HOST or the URL like 127.0.0.1:11434") as refused:
        server_url(given)
    assert "secret" not in str(refused.value)
