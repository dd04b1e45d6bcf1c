"""The planted truth: its arithmetic, its JSON, what it refuses."""

from __future__ import annotations

import pytest

from harness.simulated.demands import BadLaw
from harness.simulated.law import NO_FAULTS, Faults, Law


def test_prefill_counts_every_pair_of_tokens_once() -> None:
    law = Law(prefill_fixed_s=0.1, prefill_s_per_token=0.01, prefill_s_per_token_pair=0.001)
    # 4 new tokens after 10: 40 pairs with the cached ones, 10 among themselves (each with itself too).
    assert law.prefill_s(10, 4) == pytest.approx(0.1 + 0.04 + 0.050)


def test_prefill_in_two_parts_costs_the_same_pairs_as_in_one() -> None:
    law = Law(prefill_s_per_token_pair=0.001)
    assert law.prefill_s(0, 30) + law.prefill_s(30, 12) == pytest.approx(law.prefill_s(0, 42))


def test_a_gap_grows_with_the_tokens_in_the_cache() -> None:
    law = Law(decode_s_per_token=0.02, decode_s_per_context_token=0.0001)
    assert law.decode_gap_s(300) == pytest.approx(0.05)


def test_a_law_comes_back_from_its_json() -> None:
    law = Law(decode_s_per_token=0.02, chunk_tokens=4, jitter=0.1, stall_share=0.01, stall_factor=20, seed=7)
    assert Law.from_json(law.to_json()) == law


def test_faults_come_back_from_their_json() -> None:
    faults = Faults(die_after_tokens=3, http_status=503, broken_json=True, fail_every=2)
    assert Faults.from_json(faults.to_json()) == faults


def test_names_left_out_have_their_defaults() -> None:
    assert Law.from_json("{}") == Law()
    assert Faults.from_json("{}") == NO_FAULTS


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "law: not JSON"),
        ("[1]", "law: not a JSON object: [1]"),
        ('{"load": 1}', "law: no such name: load; did you mean load_s?"),
        ('{"zzz": 1}', "law: no such name: zzz"),
        ('{"load_s": -1}', "law: load_s is -1, must be a number of at least 0"),
        ('{"load_s": "1"}', "law: load_s is '1', must be a number of at least 0"),
        ('{"load_s": NaN}', "law: load_s is nan, must be a number of at least 0"),
        ('{"load_s": true}', "law: load_s is True, must be a number of at least 0"),
        ('{"stall_share": 2}', "law: stall_share is 2, must be a number from 0 to 1"),
        ('{"stall_factor": 0.5}', "law: stall_factor is 0.5, must be a number of at least 1"),
        ('{"chunk_tokens": 0}', "law: chunk_tokens is 0, must be a whole number of at least 1"),
        ('{"seed": 1.5}', "law: seed is 1.5, must be a whole number"),
    ],
)
def test_a_bad_law_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(BadLaw) as refusal:
        Law.from_json(text)
    assert str(refusal.value).startswith(complaint)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"http_status": 200}', "faults: http_status is 200, must be a whole number from 400 to 599"),
        ('{"fail_every": 0}', "faults: fail_every is 0, must be a whole number of at least 1"),
        ('{"die_after_tokens": -1}', "faults: die_after_tokens is -1, must be a whole number of at least 0"),
        ('{"broken_json": 1}', "faults: broken_json is 1, must be true or false"),
        ('{"slow_header": 1}', "faults: no such name: slow_header; did you mean slow_header_s?"),
    ],
)
def test_bad_faults_are_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(BadLaw) as refusal:
        Faults.from_json(text)
    assert str(refusal.value) == complaint


def test_faults_strike_every_nth_request() -> None:
    faults = Faults(http_status=500, fail_every=3)
    assert [number for number in range(1, 8) if faults.of_request(number) is faults] == [3, 6]
