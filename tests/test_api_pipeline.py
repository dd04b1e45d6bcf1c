"""The whole loop against an API of planted truth, through the command lines: run, fit, predict, hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from estimator.api.file import ApiEntry, read_api
from harness.simulated.law import Faults, Law

pytestmark = pytest.mark.slow

# Round trip and the server's constant; a price a prompt token; gaps that scatter by 20 %, the mean is the planted one.
LAW = Law(prefill_fixed_s=0.15, prefill_s_per_token=0.001, decode_s_per_token=0.006, jitter=0.2, seed=7)
# One request in seven waits longer for its first token: the tail that p90 must hold.
TAIL = Faults(slow_header_s=0.08, fail_every=7)


def run(package: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", package, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which a run through two clients was measured and fitted, and what the fit printed."""
    folder = tmp_path_factory.mktemp("api")
    command = [sys.executable, "-m", "harness.simulated", "--law", LAW.to_json(), "--faults", TAIL.to_json()]
    command += ["--models", "my-model"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        sizes = ("--prompt-tokens", "32,288", "--output-tokens", "16,64", "--repeats", "15")
        asked = ("--backend", "http,openai", "--base-url", f"{url}/v1", "--model", "my-model")
        ran = run("harness", "run", *asked, *sizes, cwd=folder)
        server.communicate(timeout=10)
    assert ran.returncode == 0, ran.stderr
    fitted = run("calibration", "fit", cwd=folder)
    assert fitted.returncode == 0, fitted.stderr + fitted.stdout
    return folder, fitted.stdout


@pytest.fixture(scope="module")
def found(measured: tuple[Path, str]) -> ApiEntry:
    (entry,) = read_api(measured[0] / "results/api.json").entries
    return entry


def test_the_planted_terms_come_back_within_two_percent(found: ApiEntry) -> None:
    assert (found.provider, found.model, found.requests) == ("local", "my-model", 120)
    assert found.client == "httpx, openai"
    assert found.ttft.constant_s == pytest.approx(LAW.prefill_fixed_s, rel=0.02)
    assert found.ttft.per_prompt_token_s == pytest.approx(LAW.prefill_s_per_token, rel=0.02)
    assert found.time_per_token is not None
    assert found.time_per_token.per_output_token_s == pytest.approx(LAW.decode_s_per_token, rel=0.02)


def test_later_requests_are_predicted_at_p50_and_covered_at_p90(found: ApiEntry) -> None:
    assert set(found.held_out) == {"ttft", "time_per_token", "end_to_end"}
    for error in found.held_out.values():
        assert error.requests == 60
        assert error.p50_error < 0.10
        # 60 requests of which 54 are expected; fewer than 48 are so by chance once in a hundred.
        assert error.p90_coverage is not None
        assert error.p90_coverage >= 0.80
    assert found.ttft.spread["p90"] > 1.1, "the tail is in it"


def test_p99_is_refused_and_the_fit_says_how_many_it_needs(measured: tuple[Path, str], found: ApiEntry) -> None:
    assert "p99" not in found.ttft.spread
    assert "p99 not told      200 requests are needed" in measured[1]
    assert not (measured[0] / "results/coefficients.json").exists(), "there was no engine to fit"


def test_the_estimator_answers_from_the_fit_with_its_basis(measured: tuple[Path, str]) -> None:
    sizes = ("--prompt-tokens", "128", "--output-tokens", "32", "--price-in", "1", "--price-out", "2")
    done = run("estimator", "predict", "--api", "my-model", *sizes, "--json", cwd=measured[0])
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    first = LAW.prefill_s(0, 128)
    assert said["ttft_s"]["p50"] == pytest.approx(first, rel=0.02)
    assert said["end_to_end_s"]["p50"] == pytest.approx(first + 31 * LAW.decode_s_per_token, rel=0.02)
    assert said["end_to_end_s"]["p90"] > said["end_to_end_s"]["p50"]
    assert said["cost_usd"] == pytest.approx(128e-6 + 64e-6)
    assert said["basis"].startswith("local calibration: 120 requests")
    for name in ("ttft", "time_per_token", "end_to_end"):
        low, high = said[f"{name}_interval_s"]["p50"]
        assert low <= said[f"{name}_s"]["p50"] <= high
    (warning,) = said["warnings"]
    assert warning.startswith("all requests are of one day")
