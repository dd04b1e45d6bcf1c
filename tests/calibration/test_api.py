"""Models behind an API: planted laws come back, quantiles hold later requests, too few requests are refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from calibration.__main__ import fit
from calibration.api.fitting import ApiFit, entry_of, fit_api
from calibration.api.held_out import days, held_out
from calibration.api.laws import fit_laws, predicted_s, rank
from calibration.api.requests import ApiRequest, Origin, api_requests, provider_of
from calibration.errors import NothingToFit
from estimator.api.answer import ApiQuestion, answer
from estimator.api.file import PUBLISHED_PATH, ApiEntry, read_api, write_api
from estimator.plain import to_plain
from harness.journal import Journal, read_record
from harness.record import Cell, Chunk, Record, Request, ServerTimings, Subject, Usage
from tests.harness.making import header

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
CONSTANT_S, PROMPT_S, TOKEN_S = 0.4, 0.0005, 0.02
ABOUT = {"client": "openai", "notes": ()}


def planted(count: int, seed: int = 1, slower: Callable[[int], float] = lambda _: 1.0) -> list[ApiRequest]:
    """Requests of the planted law with lognormal spread of the first token and of the rest, a minute apart."""
    dice = random.Random(seed)
    found = []
    for index in range(count):
        prompt, output = dice.choice((64, 256, 1024)), dice.choice((16, 128, 512))
        first = (CONSTANT_S + PROMPT_S * prompt) * dice.lognormvariate(0, 0.3) * slower(index)
        gap = TOKEN_S * dice.lognormvariate(0, 0.1) * slower(index)
        at = START + timedelta(minutes=index)
        found.append(ApiRequest(at, prompt, output, first, gap, first + gap * (output - 1)))
    return found


def entry(requests: list[ApiRequest]) -> ApiEntry:
    found = entry_of(Origin("openai", "planted", "host"), requests, "measured", ABOUT)
    assert found is not None
    return found


def test_the_planted_law_and_its_spread_come_back() -> None:
    laws = fit_laws(planted(4000))
    assert laws is not None
    assert laws.token is not None
    assert laws.ttft.constant_s == pytest.approx(CONSTANT_S, rel=0.05)
    assert laws.ttft.per_prompt_token_s == pytest.approx(PROMPT_S, rel=0.05)
    assert laws.token.per_output_token_s == pytest.approx(TOKEN_S, rel=0.01)
    # exp(1.2816 s) of a lognormal.
    assert laws.ttft.spread["p90"] == pytest.approx(1.469, rel=0.03)
    assert laws.token.spread["p90"] == pytest.approx(1.137, rel=0.01)
    assert laws.ttft.spread["p99"] == pytest.approx(2.01, rel=0.07)


def test_later_requests_are_predicted_at_p50_and_held_at_p90_and_p99() -> None:
    errors = held_out(planted(2000))
    assert set(errors) == {"ttft", "time_per_token", "end_to_end"}
    for error in errors.values():
        assert error.requests == 1000
        assert error.p50_error < 0.03
        assert error.p50_worst is not None
        assert error.p50_worst < 0.10
        assert error.p90_coverage == pytest.approx(0.90, abs=0.03)
        assert error.p99_coverage == pytest.approx(0.99, abs=0.012)


def test_end_to_end_is_held_for_short_answers_and_long_ones_apart() -> None:
    laws = fit_laws(planted(3000, seed=2))
    assert laws is not None
    for output in (16, 512):
        later = [request for request in planted(3000, seed=3) if request.output_tokens == output]
        tops = [predicted_s(laws, request, "end_to_end", "p90") for request in later]
        held = [r.e2e_s <= top for r, top in zip(later, tops, strict=True) if r.e2e_s is not None and top is not None]
        assert sum(held) / len(held) == pytest.approx(0.90, abs=0.05), output


def test_coverage_of_p90_over_many_small_fits_is_what_it_says() -> None:
    hits: list[bool] = []
    for seed in range(60):
        requests = planted(80, seed=100 + seed)
        laws = fit_laws(requests[:40])
        assert laws is not None
        for request in requests[40:]:
            top = predicted_s(laws, request, "end_to_end", "p90")
            assert top is not None
            assert request.e2e_s is not None
            hits.append(request.e2e_s <= top)
    assert 0.88 <= sum(hits) / len(hits) <= 0.95


@pytest.mark.parametrize(
    ("count", "known"), [(6, set()), (19, set()), (20, {"p90"}), (199, {"p90"}), (200, {"p90", "p99"})]
)
def test_quantiles_are_refused_on_too_few_requests(count: int, known: set[str]) -> None:
    laws = fit_laws(planted(count))
    assert laws is not None
    assert laws.token is not None
    assert laws.end_to_end is not None
    assert set(laws.ttft.spread) == set(laws.token.spread) == set(laws.end_to_end.spread) == known


def test_under_six_requests_there_is_no_law() -> None:
    assert fit_laws(planted(5)) is None
    assert entry_of(Origin("openai", "planted", "host"), planted(5), "measured", ABOUT) is None
    assert held_out(planted(10)) == {}


def test_requests_that_timed_out_count_as_slower_than_all() -> None:
    late = ApiRequest(START, 64, 16, None, None, None, failed=True, timed_out=True)
    few, many = fit_laws([*planted(95), *[late] * 5]), fit_laws([*planted(80), *[late] * 20])
    assert few is not None
    assert many is not None
    plain = fit_laws(planted(95))
    assert plain is not None
    assert few.ttft.spread["p90"] > plain.ttft.spread["p90"]
    assert "p90" not in many.ttft.spread, "one in five was given up: the p90 is beyond the limit"
    assert rank(0.9, 80, 20) is None


def test_prompts_of_one_size_leave_the_price_of_a_prompt_token_unknown() -> None:
    found = entry([replace(request, prompt_tokens=550) for request in planted(30)])
    assert found.ttft.per_prompt_token_s is None
    said = answer(found, ApiQuestion("planted", 64, 32)).warnings
    assert "64 prompt tokens are an extrapolation: 550 were measured" in said
    assert any("how TTFT grows with the prompt is not known" in warning for warning in said)


def test_days_are_compared_and_a_drift_is_warned_of() -> None:
    def slower(index: int) -> float:
        return 1.3 if index >= 720 else 1.0

    requests = planted(1440, slower=slower)
    found = entry(requests)
    assert [day.day for day in found.days] == ["2026-11-24", "2026-11-25"]
    ratios = [day.time_per_token_ratio for day in found.days]
    assert ratios[0] is not None
    assert ratios[1] is not None
    assert ratios[1] / ratios[0] == pytest.approx(1.3, rel=0.02)
    said = answer(found, ApiQuestion("planted", 64, 32)).warnings
    assert "time per token drifts over days: 30% longer on 2026-11-25 than on 2026-11-24" in said
    assert found.held_out["time_per_token"].p50_error == pytest.approx(0.3, abs=0.03), "the later half shows it"
    laws = fit_laws(planted(600))
    assert laws is not None
    assert days(planted(600), laws) == (), "one day has nothing to be compared with"


def test_the_estimators_arithmetic_is_that_of_the_fit() -> None:
    requests = planted(1200)
    laws, found = fit_laws(requests), entry(requests)
    assert laws is not None
    for request in requests[:9]:
        said = answer(found, ApiQuestion("planted", request.prompt_tokens, request.output_tokens))
        for quantity, values in (
            ("ttft", said.ttft_s),
            ("time_per_token", said.time_per_token_s),
            ("end_to_end", said.end_to_end_s),
        ):
            for name, value in values.items():
                assert value == pytest.approx(predicted_s(laws, request, quantity, name), rel=1e-9)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_api(tmp_path / "api.json", read_api(PUBLISHED_PATH))
    assert read_api(tmp_path / "api.json") == read_api(PUBLISHED_PATH)


@pytest.mark.parametrize(
    ("engine", "remote", "provider"),
    [
        ("127.0.0.1:8000", False, "local"),
        ("api.openai.com", True, "openai"),
        ("my-company.openai.azure.com", True, "azure"),
        ("notopenai.azure.com.example.org:8443", True, "notopenai.azure.com.example.org"),
        ("192.168.1.7:8000", True, "lan"),
        ("[fd00::1]:8000", True, "lan"),
        ("gpu-box:8000", True, "lan"),
        ("gpu.lan:8000", True, "lan"),
        ("8.8.8.8:443", True, "8.8.8.8"),
    ],
)
def test_a_provider_is_the_class_of_the_host(engine: str, remote: bool, provider: str) -> None:
    assert provider_of(engine, remote) == provider


def recorded(folder: Path, engine: str = "127.0.0.1:8000", count: int = 8, **changes: Any) -> Record:
    """A run of one model behind an API."""
    cell = Cell("openai", "m", "", 64, 3)
    with Journal(folder) as journal:
        journal.append(header())
        journal.append(Subject("0.0", "openai", "m", "", engine, "unknown", "", {}, {}, {}, 0, 1, client="openai 3.50"))
        for index in range(count):
            at = index * 1_000_000_000
            chunks = tuple(Chunk(at + delay * 1_000_000, None, None, 5) for delay in (100, 120, 140))
            usage = Usage(64, 3, 0)
            sent = Request(
                "0.0", cell, index, "counted", at, at, at + 140_000_000, chunks, usage, ServerTimings(), status=200
            )
            journal.append(replace(sent, **changes))
    return read_record(folder)


def test_records_of_a_server_on_this_machine_are_fitted_by_the_terms_of_an_api(tmp_path: Path) -> None:
    fitted = fit_api([recorded(tmp_path)])
    assert isinstance(fitted, ApiFit)
    assert fitted.coefficients is not None
    (found,) = fitted.coefficients.entries
    assert (found.provider, found.model, found.requests, found.client) == ("local", "m", 8, "openai")
    assert found.ttft.constant_s == pytest.approx(0.1)
    assert found.time_per_token is not None
    assert found.time_per_token.per_output_token_s == pytest.approx(0.02)
    assert fitted.coefficients.records.digest.startswith("sha256:")
    assert "127.0.0.1" not in json.dumps(to_plain(fitted.coefficients)), "a provider is a class, no address"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"usage": Usage(64, 3, 60)}, "the server had the prompt in its cache"),
        ({"usage": Usage(64, 3, 0, 2, 2)}, "the model reasoned before it answered"),
        ({"usage": Usage()}, "the server counted no tokens"),
        ({"cell": Cell("openai", "m", "", 64, 3, concurrency=8)}, "under load"),
    ],
)
def test_requests_that_would_mislead_are_left_out_by_name(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    found = api_requests([recorded(tmp_path, **changes)])
    assert not found.of
    assert [why in reason for reason in found.left_out] == [True]
    assert found.left_out[0].startswith("8 requests of m at local")


def test_too_few_requests_are_said_and_nothing_is_fitted(tmp_path: Path) -> None:
    fitted = fit_api([recorded(tmp_path, count=4)])
    assert fitted is not None
    assert fitted.coefficients is None
    assert "4 of 4 requests ended well, 6 are needed" in fitted.left_out[0]


@pytest.mark.parametrize(("count", "why"), [(0, "no request was counted"), (1, "1 of 1 requests ended well, 6 are")])
def test_nothing_to_fit_is_one_line_with_the_reason(tmp_path: Path, count: int, why: str) -> None:
    recorded(tmp_path / "run", count=count)
    with pytest.raises(NothingToFit, match=why) as raised:
        fit([tmp_path / "run"], tmp_path / "out.json", False, True)
    assert raised.value.exit_status == 8
    assert not (tmp_path / "api.json").exists()


def test_a_later_request_that_timed_out_is_one_that_p90_did_not_hold() -> None:
    requests = planted(200)
    late = ApiRequest(START + timedelta(days=1), 64, 16, None, None, None, failed=True, timed_out=True)
    plain, with_late = held_out(requests), held_out([*requests[:190], *[late] * 10])
    for name, error in with_late.items():
        before = plain[name].p90_coverage
        assert before is not None
        assert error.p90_coverage is not None
        assert error.p90_coverage <= 0.9
        assert error.p90_coverage < before


def test_a_server_that_streams_in_batches_has_a_factor_for_the_whole() -> None:
    # Half of the tokens are in the first chunk: the rest take half of what tokens - 1 gaps would.
    requests = [
        replace(r, e2e_s=(r.ttft_s or 0) + (r.time_per_token_s or 0) * r.output_tokens / 2) for r in planted(80)
    ]
    found = entry(requests)
    assert found.end_to_end is not None
    assert found.end_to_end.spread["p50"][0] < 0.9
    assert found.held_out["end_to_end"].p50_error < 0.1


def test_of_two_addresses_the_later_one_is_fitted_and_the_other_named(tmp_path: Path) -> None:
    found = api_requests([recorded(tmp_path / "a", "127.0.0.1:1"), recorded(tmp_path / "b", "127.0.0.1:2", count=9)])
    assert [origin.address for origin in found.of] == ["127.0.0.1:2"]
    assert found.left_out == ("8 requests of m at another address (127.0.0.1:1) of local",)
