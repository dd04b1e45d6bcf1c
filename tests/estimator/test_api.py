"""`predict --api`: quantiles, what is not known, prices, names that are almost right, options that do not belong."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from estimator.__main__ import main
from estimator.api.answer import ApiQuestion, answer
from estimator.api.file import (
    PUBLISHED_PATH,
    ApiCoefficients,
    ApiEntry,
    ApiHeldOut,
    ApiRange,
    ApiRecords,
    EndToEndLaw,
    TokenLaw,
    TtftLaw,
    known_entries,
    read_api,
    write_api,
)
from estimator.api.naming import find_entry
from estimator.errors import EstimatorError, UnreadableFile

ENTRY = ApiEntry(
    provider="openai",
    model="gpt-4-turbo-2024-04-09",
    names=("gpt-4-turbo",),
    basis="measured",
    first_day="2026-11-24",
    last_day="2026-11-25",
    requests=240,
    failed=0,
    timed_out=0,
    concurrency=1,
    client="openai",
    sources=(),
    ttft=TtftLaw(0.4, 0.0005, {"p90": 1.5, "p99": 2.0}),
    time_per_token=TokenLaw(0.02, {"p90": 1.2}),
    end_to_end=EndToEndLaw({"p90": (1.5, 1.1)}),
    valid=ApiRange((64, 1024), (16, 512)),
    held_out={"end_to_end": ApiHeldOut(120, 0.02, None, 0.91)},
)


def test_the_quantiles_are_the_laws_at_the_sizes_asked() -> None:
    said = answer(ENTRY, ApiQuestion("gpt-4-turbo", 400, 101))
    assert said.ttft_s == pytest.approx({"p50": 0.6, "p90": 0.9, "p99": 1.2})
    assert said.time_per_token_s == {"p50": 0.02, "p90": pytest.approx(0.024), "p99": None}
    assert said.end_to_end_s == {"p50": pytest.approx(2.6), "p90": pytest.approx(3.1), "p99": None}
    assert said.basis == "local calibration: 240 requests on 2026-11-24 to 2026-11-25, openai"
    assert said.warnings == ()
    assert not any(said.ttft_interval_s.values()), "none where the fit knows none"


def test_intervals_are_factors_of_the_quantile_and_wider_away_from_the_surest_prompt() -> None:
    wide = (1.0, -1e-3, 2e-5)
    ttft = replace(ENTRY.ttft, constant_s=0.4, per_prompt_token_s=0.0005, interval={"p50": (0.9, 1.2)}, leverage=wide)
    known = replace(
        ENTRY,
        ttft=ttft,
        time_per_token=TokenLaw(0.02, {}, {"p50": (0.9, 1.1)}),
        end_to_end=EndToEndLaw({}, {"p50": (0.95, 1.1)}),
    )
    said = answer(known, ApiQuestion("gpt-4-turbo", 400, 101))
    stretch = (1 - 2 * 1e-3 * 400 + 2e-5 * 400 * 400) ** 0.5 / 0.6
    low, high = 0.6 * 0.9**stretch, 0.6 * 1.2**stretch
    assert said.ttft_interval_s == {"p50": pytest.approx((low, high)), "p90": None, "p99": None}
    assert said.time_per_token_interval_s["p50"] == pytest.approx((0.018, 0.022))
    ends = (2.6 * 0.95 - 0.6 * 0.9 + low, 2.6 * 1.1 - 0.6 * 1.2 + high)
    assert said.end_to_end_interval_s["p50"] == pytest.approx(ends), "what TTFT is less sure of is in the whole too"


def test_prompts_of_one_size_have_no_interval_elsewhere() -> None:
    (same,) = [e for e in read_api(PUBLISHED_PATH).entries if (e.provider, e.names) == ("together", ("llama2:13b",))]
    there, elsewhere = (answer(same, ApiQuestion("llama2:13b", prompt, 150)) for prompt in (550, 2000))
    assert there.ttft_interval_s["p50"] is not None
    assert there.end_to_end_interval_s["p90"] is not None
    assert not any((*elsewhere.ttft_interval_s.values(), *elsewhere.end_to_end_interval_s.values()))
    assert elsewhere.time_per_token_interval_s == there.time_per_token_interval_s


def test_the_median_of_the_whole_may_have_a_factor_of_its_own() -> None:
    batched = replace(ENTRY, end_to_end=EndToEndLaw({"p50": (0.8, 0.8), "p90": (0.9, 0.9)}))
    said = answer(batched, ApiQuestion("gpt-4-turbo", 400, 101)).end_to_end_s
    assert said == {"p50": pytest.approx(0.8 * 2.6), "p90": pytest.approx(0.9 * 2.6), "p99": None}


def test_quantiles_never_cross_and_no_request_ends_before_its_first_token() -> None:
    odd = replace(ENTRY, ttft=TtftLaw(0.4, None, {"p90": 0.9, "p99": 0.8}), end_to_end=EndToEndLaw({"p90": (0.1, 0.1)}))
    said = answer(odd, ApiQuestion("gpt-4-turbo", 400, 1))
    assert said.ttft_s == {"p50": 0.4, "p90": 0.4, "p99": 0.4}
    assert said.end_to_end_s["p90"] == 0.4


def test_a_request_costs_what_was_stated_else_what_the_textbook_quotes_else_nobody_knows() -> None:
    stated = answer(ENTRY, ApiQuestion("gpt-4-turbo", 1000, 500, price_in=2.0, price_out=8.0))
    assert stated.cost_usd == pytest.approx(1000 * 2e-6 + 500 * 8e-6)
    quoted = answer(ENTRY, ApiQuestion("gpt-4-turbo", 1000, 500))
    assert quoted.cost_usd == pytest.approx(0.01 + 0.5 * 0.03)
    assert "textbook" in quoted.price
    elsewhere = answer(replace(ENTRY, provider="azure"), ApiQuestion("gpt-4-turbo", 1000, 500))
    assert elsewhere.cost_usd is None
    assert "--price-in" in elsewhere.price


def test_sizes_outside_what_was_measured_and_failures_are_warned_of() -> None:
    thin = replace(ENTRY, failed=60, timed_out=10)
    said = answer(thin, ApiQuestion("gpt-4-turbo", 4000, 4)).warnings
    assert "4000 prompt tokens are an extrapolation: 64 to 1024 were measured" in said
    assert "4 output tokens are an extrapolation: 16 to 512 were measured" in said
    assert any(warning.startswith("60 of 300 requests failed (10 of them timed out)") for warning in said)


@pytest.mark.parametrize(
    ("prompt", "output", "prices"),
    [
        (0, 1, ()),
        (1, 0, ()),
        (10**400, 1, ()),
        (1, 1, (1.0,)),
        (1, 1, (-1.0, 1.0)),
        (1, 1, (float("nan"), 1.0)),
        (1, 1, (float("inf"), 1.0)),
    ],
)
def test_questions_without_sense_are_refused(prompt: int, output: int, prices: tuple[float, ...]) -> None:
    with pytest.raises(EstimatorError):
        ApiQuestion("m", prompt, output, *prices)


def test_what_was_measured_here_goes_before_what_was_published() -> None:
    published = known_entries(None, Path("nowhere"))
    assert find_entry((ENTRY, *published), "gpt-4-turbo", None) is ENTRY
    assert find_entry(published, "GPT-4-Turbo", None).model == "gpt-4-0125-preview"
    assert find_entry((replace(ENTRY, provider="lan"), *published), "gpt-4-turbo", "openai").basis == "published"


def test_a_provider_may_stand_before_the_name() -> None:
    published = known_entries(None, Path("nowhere"))
    assert find_entry(published, "openai:gpt-4-turbo", None).model == "gpt-4-0125-preview"
    assert find_entry(published, "OpenAI:gpt-4-turbo", "openai").provider == "openai"
    assert find_entry(published, "together:llama2:13b", None).provider == "together"
    with pytest.raises(EstimatorError, match="names the provider openai, --provider azure: leave out one"):
        find_entry(published, "openai:gpt-4-turbo", "azure")


def test_one_day_and_too_few_requests_are_said() -> None:
    short = replace(ENTRY, first_day="2026-11-25", held_out={})
    said = answer(short, ApiQuestion("gpt-4-turbo", 400, 101)).warnings
    assert "all requests are of one day, 2026-11-25: how other days differ is not known" in said
    assert "too few requests to hold some out: how far the figures are off on others is not known" in said


def test_a_model_of_several_providers_wants_one_named() -> None:
    published = known_entries(None, Path("nowhere"))
    with pytest.raises(EstimatorError, match="known at anyscale, bedrock, .*say which with --provider") as raised:
        find_entry(published, "llama2:13b", None)
    assert raised.value.exit_status == 2
    assert find_entry(published, "llama2:13b", "Fireworks").provider == "fireworks"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--api", "gpt4-turbo"), 3, "did you mean gpt-4-turbo"),
        (("--api", "llama2:13b", "--provider", "anyscal"), 3, "did you mean anyscale?"),
        (("--api", "gpt-4-turbo", "--quant", "q4_0"), 2, "--quant is of models on a machine of yours"),
        (("--api", "gpt-4-turbo", "--concurrency", "8"), 2, "--concurrency is of models on a machine of yours"),
        (("--api", "gpt-4-turbo", "--gpu-layers", "8"), 2, "--gpu-layers is of models on a machine of yours"),
        (("--api", "gpt-4-turbo", "--link", "1GB/s"), 2, "--link is of models on a machine of yours"),
        (("--api", "gpt-4-turbo", "--instance", "g5.xlarge"), 2, "--instance is of models on a machine of yours"),
        (("--api", "gpt-4-turbo", "--anyway"), 2, "--anyway is of models on a machine of yours"),
        (("--price-in", "3"), 2, "--price-in is of models behind an API"),
        (("--api", "gpt-4-turbo", "--price-in", "3"), 2, "give --price-in and --price-out"),
        (("--api", "gpt-4-turbo", "--coefficients", "nowhere.json"), 4, "cannot read API coefficients"),
    ],
)
def test_what_cannot_be_answered_is_one_line_with_its_status(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int, said: str
) -> None:
    assert main(["predict", *arguments]) == status
    errors = capsys.readouterr().err
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_the_answer_is_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--api", "gpt-4-turbo", "--prompt-tokens", "512", "--output-tokens", "128"]) == 0
    text = capsys.readouterr().out
    assert "published reference: 51 requests on 2024-04-12" in text
    assert "unknown" in text, "p99 of 51 requests"
    assert main(["predict", "--api", "llama2:13b", "--provider", "anyscale", "--prompt-tokens", "550", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ttft_s"]["p50"] == pytest.approx(0.2024, abs=1e-3)
    assert said["end_to_end_s"]["p99"] is None
    assert main(["models", "--api"]) == 0
    assert "llama2:13b" in capsys.readouterr().out
    assert main(["models", "--api", "--json"]) == 0
    assert {"openai", "anyscale"} <= {entry["provider"] for entry in json.loads(capsys.readouterr().out)}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 9, "entries": []}', '{"format": 2, "speed": {}}', '{"format": 1, "x": NaN}']
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "api.json").write_text(text)
    with pytest.raises(UnreadableFile):
        read_api(tmp_path / "api.json")


@pytest.mark.parametrize(
    "law", [TtftLaw(-0.1, 0.5, {}), TtftLaw(0.0, None, {}), TtftLaw(0.0, 0.0, {}), TtftLaw(0.5, -1e-9, {})]
)
def test_a_law_that_takes_no_time_is_refused(tmp_path: Path, law: TtftLaw) -> None:
    whole = ApiCoefficients("", ApiRecords(1, 240, "sha256:0"), {}, (replace(ENTRY, ttft=law),))
    write_api(tmp_path / "api.json", whole)
    with pytest.raises(UnreadableFile, match="gpt-4-turbo-2024-04-09 at openai takes no time or less"):
        read_api(tmp_path / "api.json")


def test_a_written_file_is_read_back_and_found(tmp_path: Path) -> None:
    whole = ApiCoefficients("2026-11-25T12:00:00+00:00", ApiRecords(1, 240, "sha256:0"), {}, (ENTRY,))
    write_api(tmp_path / "api.json", whole)
    assert read_api(tmp_path / "api.json") == whole
    assert known_entries(None, tmp_path / "api.json")[0] == ENTRY


def test_an_api_answer_imports_nothing_heavy() -> None:
    script = (
        "import sys; from estimator.__main__ import main; main(['predict', '--api', 'gpt-4-turbo']); "
        "print([m for m in ('numpy', 'sklearn', 'genai_prices', 'pydantic', 'psutil') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
