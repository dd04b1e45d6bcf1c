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
    ApiCoefficients,
    ApiEntry,
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
    held_out={},
)


def test_the_quantiles_are_the_laws_at_the_sizes_asked() -> None:
    said = answer(ENTRY, ApiQuestion("gpt-4-turbo", 400, 101))
    assert said.ttft_s == pytest.approx({"p50": 0.6, "p90": 0.9, "p99": 1.2})
    assert said.time_per_token_s == {"p50": 0.02, "p90": pytest.approx(0.024), "p99": None}
    assert said.end_to_end_s == {"p50": pytest.approx(2.6), "p90": pytest.approx(3.1), "p99": None}
    assert said.basis == "local calibration: 240 requests on 2026-11-24 to 2026-11-25, openai"
    assert said.warnings == ()


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


@pytest.mark.parametrize(("prompt", "output", "prices"), [(0, 1, ()), (1, 0, ()), (1, 1, (1.0,)), (1, 1, (-1.0, 1.0))])
def test_questions_without_sense_are_refused(prompt: int, output: int, prices: tuple[float, ...]) -> None:
    with pytest.raises(EstimatorError):
        ApiQuestion("m", prompt, output, *prices)


def test_what_was_measured_here_goes_before_what_was_published() -> None:
    published = known_entries(None, Path("nowhere"))
    assert find_entry((ENTRY, *published), "gpt-4-turbo", None) is ENTRY
    assert find_entry(published, "GPT-4-Turbo", None).model == "gpt-4-0125-preview"
    assert find_entry((replace(ENTRY, provider="lan"), *published), "gpt-4-turbo", "openai").basis == "published"


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


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 9, "entries": []}', '{"format": 2, "speed": {}}'])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "api.json").write_text(text)
    with pytest.raises(UnreadableFile):
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
