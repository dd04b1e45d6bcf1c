"""`cost` and `cheapest` on the command line: what they print, their JSON, one line for each bad input."""

import json
import re
from pathlib import Path

import pytest

from estimator.__main__ import main
from estimator.coefficients import write_coefficients
from tests.estimator.examples import coefficients

COST = "cost --api openai:gpt-4-turbo --instance aws:g5.xlarge --model mistral:7b --prompt 1000 --output 300"


def printed(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that succeeds prints; every line within 80 columns."""
    assert main(arguments.split()) == 0
    done = capsys.readouterr()
    assert done.err == ""
    assert max(map(len, done.out.splitlines())) <= 80
    return " ".join(done.out.split())


def test_an_api_and_an_instance_are_compared_with_prices_dated_and_speed_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(f"{COST} --per-day 100000", capsys)
    assert "openai:gpt-4-turbo $0.0190 $14.6 $57,792" in text
    assert "AWS g5.xlarge ≥$0.000241 ≥$0.185 ≥$734 1" in text
    assert "100,000 requests a day = 130,000,000 tokens a day" in text
    assert "us-east-1, 2025-03-02 (AWS price list" in text
    assert "(genai-prices 0." in text
    assert "the machine is cheaper from 1,660,000 on (1,280 requests)" in text
    assert "(theory)" in text
    assert "nothing was measured on it" in text
    assert re.search(r"one at a time \(reference\): \$[\d,]+ \(\$[\d,]+ \.\. \$[\d,]+\) a month, n \d", text)
    assert re.search(r"one at a time: fits; 1 at once: [^;]+ a token \(reference\)", text)


def test_a_load_that_one_stream_carries_has_the_speed_of_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(f"{COST} --per-day 10000", capsys)
    assert "AWS g5.xlarge $0.00241 $1.86 $734 1 " in text
    assert re.search(r"1 at once: [^;]+ a token \(reference\)", text)
    assert "≥" not in text
    # Where it breaks even may take several requests at once, so that stays theory's.
    assert "one machine carries that load at 0.46 % of its throughput by theory" in text


def test_a_machine_without_a_price_has_none_with_one_request_at_a_time_either(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed("cost --model llama3.1:8b --instance p5e.48xlarge --per-day 100000000", capsys)
    assert re.search(r"one at a time: fits; [^;]+1 at once: [^;]+ a token \(reference\)", text)
    assert "(reference): -" not in text


def test_rates_that_the_catalogue_lacks_are_not_asked_for_by_options_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    catalogued = printed("cost --hardware EPYC7763 --hardware-usd 3000 --usd-per-kwh 0.3", capsys)
    assert "the catalogue does not have all of AMD EPYC 7003" in catalogued
    assert "--bandwidth" not in catalogued
    assert "harness doctor`, or state --bandwidth and --compute" in printed("cost --usd-per-hour 1", capsys)


def test_the_json_has_every_number_unrounded_with_its_unit(capsys: pytest.CaptureFixture[str]) -> None:
    main(f"{COST} --per-day 100000 --json".split())
    answer = json.loads(capsys.readouterr().out)
    api, machine = answer["offers"]
    assert (api["kind"], api["request_usd"]["value"], api["month_usd"]["basis"]) == ("api", 0.019, "stated")
    assert (machine["kind"], machine["at_least"], machine["machines"]) == ("rented", True, 1)
    assert machine["month_usd"]["value"] == pytest.approx(1.006 * 730)
    assert machine["serving"]["machine_s"]["basis"] == "theory"
    (point,) = answer["break_even"]
    assert point["requests_per_day"] == pytest.approx(24 * 1.006 / 0.019)
    assert point["tokens_per_day"] == pytest.approx(1300 * 24 * 1.006 / 0.019)
    assert answer["load"]["requests_per_day"] == 100_000
    alone = machine["alone"]
    assert (alone["serving"]["machine_s"]["basis"], alone["at_least"]) == ("reference", False)
    assert alone["machines"] > 1


def test_batch_cached_and_reasoning_tokens_are_billed(capsys: pytest.CaptureFixture[str]) -> None:
    more = "--batch --cached-tokens 400 --cache-write-tokens 100 --reasoning-tokens 200 --prompt 1000 --output 100"
    main(f"cost --api anthropic:claude-sonnet-4-5 --json {more}".split())
    (api,) = json.loads(capsys.readouterr().out)["offers"]
    assert api["request_usd"]["value"] == pytest.approx((500 * 1.5 + 400 * 0.15 + 100 * 1.875 + 300 * 7.5) / 1e6)
    assert "since 2026-10-14" in api["prices"][0]


def test_a_batch_price_that_is_not_listed_is_said_to_be_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("cost --api deepseek:deepseek-chat --batch --instance g5.xlarge --per-day 10", capsys)
    assert "deepseek:deepseek-chat - - - - -" in text
    assert "no such price is listed: state it with --price-in" in text
    assert "unknown, the price of deepseek:deepseek-chat is unknown" in text


def test_prices_can_be_stated(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("cost --api mine:llama --price-in 1 --price-out 2 --per-day 1e6", capsys)
    assert "mine:llama $0.000768 $1.20 $23,360" in text
    assert "$1 in, $2 out per million tokens (as stated)" in text


def test_own_hardware_shows_wear_and_electricity_and_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(
        "cost --hardware rtx4090 --hardware-usd 3000 --usd-per-kwh 0.3 --idle-watts 60 --per-day 50000", capsys
    )
    assert "hardware $83.3, electricity $" in text
    assert "3 years (assumed)" in text
    assert "450 W while it works, assumed" in text


def test_a_machine_that_the_model_does_not_fit_costs_nothing_known(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("cost --model llama3.3:70b --instance g5.xlarge --api openai:gpt-4o", capsys)
    assert "AWS g5.xlarge - - - - -" in text
    assert "does not fit: not all layers fit on the GPU" in text


def test_this_machine_is_costed_by_its_coefficients_with_their_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_coefficients(tmp_path / "c.json", coefficients())
    command = f"cost --coefficients {tmp_path}/c.json --usd-per-hour 1 --model tinyllama --prompt 512 --output 128"
    assert main([*command.split(), "--concurrency", "1"]) == 10
    assert "belongs elsewhere: CPU Test CPU, not" in capsys.readouterr().err
    command += " --anyway"
    text = printed(f"{command} --concurrency 1 --per-day 1e6", capsys)
    assert "a month (90 % interval of the speed)" in text
    assert "(calibrated)" in text
    main([*command.split(), "--concurrency", "1", "--per-day", "1e6", "--json"])
    (offer,) = json.loads(capsys.readouterr().out)["offers"]
    assert offer["at_least"] is False
    assert offer["month_usd"]["low"] < offer["month_usd"]["value"] < offer["month_usd"]["high"]


def test_without_rates_the_speed_of_this_machine_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("cost --usd-per-hour 0.1 --model qwen2.5:0.5b", capsys)
    assert "speed unknown" in text


def test_the_cheapest_is_ranked_and_the_others_have_their_reason(capsys: pytest.CaptureFixture[str]) -> None:
    command = "cheapest --model mistral:7b --slo ttft=500ms,tpot=20ms --per-day 100000 --api openai:gpt-4o"
    text = printed(f"{command} --own RTX3090=800 --usd-per-kwh 0.3", capsys)
    assert "own NVIDIA GeForce RTX 3090" in text
    assert "latency unknown (1) openai:gpt-4o" in text
    assert "price unknown (5)" in text
    assert "such prices are lower bounds" in text
    assert "dearer ones: --all" in text


def test_the_cheapest_is_as_fast_as_predict_says(capsys: pytest.CaptureFixture[str]) -> None:
    main(["cheapest", "--slo", "tpot=20ms", "--per-day", "100000", "--among", "aws", "--json"])
    answer = json.loads(capsys.readouterr().out)
    months = [entry["offer"]["month_usd"]["value"] for entry in answer["ranked"]]
    assert months == sorted(months)
    first = answer["ranked"][0]["offer"]
    question = f"--instance {first['name'].removeprefix('AWS ')} --concurrency {first['serving']['concurrency']}"
    main(f"predict {question} --json".split())
    speed = json.loads(capsys.readouterr().out)["speed"]
    assert speed["time_per_token_s"]["value"] == first["serving"]["time_per_token_s"]["value"] <= 0.02


def test_limits_that_nothing_keeps_are_answered_with_why(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("cheapest --slo tpot=0.01ms --per-day 10 --among g5", capsys)
    assert "nothing that was looked at keeps the limits" in text
    assert "by the reference, one request alone (" in text
    assert "even in theory" in printed("cheapest --model llama3.1:70b --slo tpot=0.01ms --per-day 10", capsys)


def test_what_one_request_alone_does_not_keep_several_at_once_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    # In theory a token takes a T4 14 ms.
    asked = "cheapest --slo tpot=16ms --per-day 100000 --among g4dn.xlarge"
    for more in ("", " --concurrency 8"):
        assert "ms by the reference, one request alone (" in printed(asked + more, capsys)


def test_limits_are_judged_by_the_interval_of_the_reference_where_it_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["cheapest", "--slo", "tpot=20ms", "--per-day", "1000", "--all", "--json"])
    for entry in json.loads(capsys.readouterr().out)["ranked"]:
        step = entry["offer"]["serving"]["time_per_token_s"]
        expected = "theory" if step["basis"] == "theory" else "yes" if step["high"] <= 0.02 else "likely"
        assert entry["meets"] == expected
        assert entry["offer"]["at_least"] == (expected == "theory" and entry["offer"]["serving"]["devices"] == 1)


def test_a_huge_load_stays_readable(capsys: pytest.CaptureFixture[str]) -> None:
    printed("cheapest --per-day 1e12 --among azure --all", capsys)
    printed(f"{COST} --per-day 1e12", capsys)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("cost", 2, "nothing to price: name --api"),
        ("cost --api gpt-4", 2, "'gpt-4' does not say whose prices apply: write --api PROVIDER:MODEL"),
        ("cost --api opnai:gpt-4", 3, "unknown provider 'opnai'; did you mean openai"),
        ("cost --api openai:gpt-4-tubro", 3, "did you mean gpt-4-turbo"),
        ("cost --api openai:gpt-4 --price-in 1", 2, "a price has two sides"),
        ("cost --api openai:gpt-4 --price-in 1 --price-out -2", 2, "must be at least 0"),
        ("cost --api openai:gpt-4 --price-in 1 --price-out nan", 2, "must be at least 0"),
        ("cost --api openai:gpt-4 --price-cached 1", 2, "go with --price-in"),
        ("cost --api a:b --api c:d --price-in 1 --price-out 2", 2, "are of one API"),
        ("cost --api a:b --batch --price-in 1 --price-out 2", 2, "--batch asks the price list"),
        ("cost --api openai:gpt-4 --prompt 0", 2, "at least 1 token"),
        ("cost --api openai:gpt-4 --prompt 10 --cached-tokens 11", 2, "more than the 10 of the prompt"),
        ("cost --api openai:gpt-4 --reasoning-tokens -1", 2, "must be at least 0"),
        ("cost --api openai:gpt-4 --per-day 0", 2, "the load must be above 0"),
        ("cost --api openai:gpt-4 --per-day nan", 2, "the load must be above 0"),
        ("cost --api openai:gpt-4 --utilisation 2", 2, "above 0 and at most 1"),
        ("cost --api openai:gpt-4 --hardware-usd -1", 2, "must be at least 0"),
        ("cost --api openai:gpt-4 --usd-per-kwh 0.3", 2, "--usd-per-kwh is of hardware of your own"),
        ("cost --instance g5.xlarge --watts 10", 2, "--watts is of hardware of your own"),
        ("cost --instance g5.xlarge --concurrency 0", 2, "the concurrency must be at least 1"),
        ("cost --instance g5.xlarge --slo fast", 2, "'fast' is no limit"),
        ("cost --instance g5.xlarge --usd-per-hour nan", 2, "the rent must be at least 0"),
        ("cost --instance g5.xlarge --instance g6.xlarge --usd-per-hour 1", 2, "is the rent of one machine"),
        ("cost --instance gcp:g5.xlarge", 3, "g5.xlarge is not of 'gcp' but of AWS"),
        ("cost --instance g5.xxlarge", 3, "did you mean g5.xlarge"),
        ("cost --instance g5.xlarge --memory 64GiB", 2, "--memory goes with --hardware"),
        ("cost --hardware rtx4090 --usd-per-hour 1 --hardware-usd 2", 2, "rented or owned"),
        ("cost --hardware rtx4090 --hardware-usd 2 --lifetime-years 1e-300", 2, "an hour at least"),
        ("cost --hardware rtx4090 --hardware-usd 1e308 --usd-per-kwh 1", 2, "at most 1e15"),
        ("cost --instance g5.xlarge --concurrency 100000000", 2, "can be asked for"),
        ("cost --hardware rtx4090 --hardware-usd 2 --lifetime-years 0", 2, "the lifetime must be above 0"),
        ("cost --hardware rtx4090 --watts 1 --idle-watts 2", 2, "--idle-watts is above --watts"),
        ("cost --hardware rtx4090 --watts 1 --joules-per-request 1", 2, "give the measured joules alone"),
        ("cost --hardware rtx4090 --coefficients none.json", 2, "belong to the machine"),
        ("cost --hardware rtx4099", 3, "did you mean rtx 4090"),
        ("cost --instance g5.xlarge --model nobody", 3, "unknown model 'nobody'"),
        ("cheapest", 2, "--per-day"),
        ("cheapest --per-day 10 --slo tpot=5", 2, "'tpot=5' is no limit"),
        ("cheapest --per-day 10 --among abacus", 3, "no instance has the words 'abacus'"),
        ("cheapest --per-day 10 --own rtx4090", 2, "'rtx4090' is no hardware with its price"),
        ("cheapest --per-day 10 --own rtx4090=cheap", 2, "is no hardware with its price"),
        ("cheapest --per-day 10 --own rtx4090=nan", 2, "is no hardware with its price"),
        ("cheapest --per-day 10 --own rtx4099=5", 3, "did you mean rtx 4090"),
        ("cheapest --per-day 10 --usd-per-kwh 1", 2, "is of hardware of your own"),
        ("cheapest --per-day 10 --api openai:gpt-4@ttft=soon", 2, "is no limit"),
        ("cheapest --per-day 10 --api openai:gpt-4-tubro", 3, "did you mean gpt-4-turbo"),
    ],
)
def test_a_bad_input_is_told_in_one_line_with_its_exit_status(
    arguments: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == status
    done = capsys.readouterr()
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert message in done.err
