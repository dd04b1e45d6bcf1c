"""Costs by hand and by property: bills of APIs and machines, machines needed, break-even, what a limit rules out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.answer import Quantity
from estimator.catalog import find_model
from estimator.clouds import find_instance
from estimator.costs.cheapest import ApiCandidate, cheapest
from estimator.costs.comparison import Costed, compare
from estimator.costs.offers import Load, api_offer, machine_offer
from estimator.costs.outlay import Outlay, Owning, owned, rent_stated, rented
from estimator.costs.serving import Machine, Serving, Unserved, best_serving, machine_of, meets
from estimator.errors import EstimatorError
from estimator.hardware import find_part
from estimator.limits import Limits
from estimator.predict import predict
from estimator.price_list import Price
from estimator.question import catalogued
from estimator.specs import Workload
from estimator.tensors import model_file
from estimator.theory.cost import (
    machines_needed,
)
from tests.estimator.examples import FILE, HARDWARE, coefficients, serving_of

PRICE = Price(10.0, 1.0, 30.0, "as stated")
LOAD = Load(1000, 300, requests_per_day=10_000)
RENT = Outlay("rented", 1.0, ("$1 an hour, as stated",))
_usd = st.floats(1e-6, 1e3)
_machine_s = st.floats(1e-3, 1e4)


def test_an_api_bills_each_request_at_its_list() -> None:
    offer = api_offer("a:b", PRICE, replace(LOAD, cached_tokens=400, reasoning_tokens=100))
    assert offer.request_usd.value == pytest.approx((600 * 10 + 400 * 1 + 400 * 30) / 1e6)
    assert offer.month_usd.value == pytest.approx((offer.request_usd.value or 0) * 10_000 * 730 / 24)
    assert offer.million_tokens_usd.value == pytest.approx((offer.request_usd.value or 0) / 1300 * 1e6)
    assert offer.million_output_tokens_usd.value == pytest.approx((offer.request_usd.value or 0) / 300 * 1e6)


def test_an_unknown_price_is_unknown_and_not_nothing() -> None:
    offer = api_offer("a:b", None, LOAD)
    assert (offer.request_usd.value, offer.month_usd.value) == (None, None)
    assert offer.obstacle is not None
    assert offer.obstacle.obstacle == "price unknown"
    machine = machine_offer("m", "rented", Outlay("rented", None, ("no price",)), serving_of(1.0), LOAD)
    assert (machine.month_usd.value, machine.obstacle and machine.obstacle.obstacle) == (None, "price unknown")


def test_a_load_that_is_too_much_for_one_machine_needs_more_and_pays_for_all_of_them() -> None:
    # 10,000 requests of 20 s are 2.3 days a day.
    offer = machine_offer("m", "rented", RENT, serving_of(20.0), LOAD)
    assert (offer.machines, offer.month_usd.value) == (3, 3 * 730)
    assert offer.busy_share == pytest.approx(10_000 * 20 / (3 * 86_400))
    assert offer.request_usd.value == pytest.approx(3 * 24 / 10_000)
    assert offer.at_least
    half = machine_offer("m", "rented", RENT, serving_of(20.0), replace(LOAD, utilisation=0.5))
    assert half.machines == 5


def test_without_a_load_a_request_costs_its_share_of_a_machine_in_full_use() -> None:
    offer = machine_offer("m", "rented", RENT, serving_of(36.0), replace(LOAD, requests_per_day=None, utilisation=0.5))
    assert offer.request_usd.value == pytest.approx(36 / 3600 / 0.5)
    assert offer.machines == 1
    assert offer.month_usd.value == pytest.approx(730)


def test_a_load_that_just_fills_machines_needs_no_more_of_them() -> None:
    assert [machines_needed(n * 8640, 10.0) for n in (1, 2, 3, 7)] == [1, 2, 3, 7]
    assert machines_needed(8641, 10.0) == 2


def test_the_price_of_hardware_is_spread_over_its_lifetime_and_idle_draw_is_shown_apart() -> None:
    owning = Owning(8760.0, 2.0, usd_per_kwh=0.5, watts=400.0, idle_watts=100.0)
    offer = machine_offer("m", "owned", owned(owning, None), serving_of(4.32), LOAD)
    parts = {name: part.value for name, part in offer.month_parts_usd.items()}
    # $0.5 an hour; half of the month at 400 W and half at 100 W.
    assert parts["hardware"] == pytest.approx(0.5 * 730)
    assert parts["electricity"] == pytest.approx(0.4 * 365 * 0.5)
    assert parts["idle_electricity"] == pytest.approx(0.1 * 365 * 0.5)
    assert offer.month_usd.value == pytest.approx(sum(part or 0 for part in parts.values()))


def test_measured_joules_take_the_place_of_power() -> None:
    owning = Owning(8760.0, 1.0, usd_per_kwh=0.36, joules_per_request=1000.0)
    offer = machine_offer("m", "owned", owned(owning, find_part("RTX 4090")), serving_of(1.0), LOAD)
    assert offer.month_parts_usd["electricity"].value == pytest.approx(1e-4 * 10_000 * 730 / 24)


def test_power_is_the_limit_of_the_catalogue_if_nobody_says_and_it_says_so() -> None:
    outlay = owned(Owning(1600.0, usd_per_kwh=0.3), find_part("RTX 4090"), 2)
    assert outlay.busy_w == 900
    words = " ".join(outlay.origins)
    assert "3 years (assumed)" in words
    assert "900 W while it works, assumed: the power limit" in words
    assert "idle draw not counted" in words


@pytest.mark.parametrize(
    ("owning", "missing"),
    [
        (Owning(usd_per_kwh=0.3, watts=1.0), "--hardware-usd"),
        (Owning(1.0, watts=1.0), "--usd-per-kwh"),
        (Owning(1.0, usd_per_kwh=0.3), "--joules-per-request"),
    ],
)
def test_hardware_of_which_a_price_is_missing_has_none(owning: Owning, missing: str) -> None:
    outlay = owned(owning, None)
    assert outlay.usd_per_hour is None
    assert missing in outlay.origins[0]


def test_a_rent_has_the_date_and_source_of_the_catalogue() -> None:
    known, unknown = rented(find_instance("g5.xlarge")), rented(find_instance("p5e.48xlarge"))
    assert known.usd_per_hour == 1.006
    assert "us-east-1, 2025-03-02 (AWS price list" in known.origins[0]
    assert (unknown.usd_per_hour, rented(find_instance("p5e.48xlarge"), 70.0).usd_per_hour) == (None, 70.0)


@given(_usd, _machine_s, st.floats(1, 1e6), st.floats(1, 5))
def test_bills_grow_with_load_rent_and_time(rent: float, machine_s: float, per_day: float, factor: float) -> None:
    def month(rent: float, machine_s: float, per_day: float) -> float:
        outlay = Outlay("owned", rent, (), usd_per_kwh=0.3, busy_w=300, idle_w=50)
        offer = machine_offer("m", "owned", outlay, serving_of(machine_s), Load(100, 50, requests_per_day=per_day))
        return (offer.month_usd.value or 0.0) * (1 + 1e-9)

    base = month(rent, machine_s, per_day) / (1 + 1e-9)
    assert month(rent * factor, machine_s, per_day) >= base
    assert month(rent, machine_s * factor, per_day) >= base
    assert month(rent, machine_s, per_day * factor) >= base


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 100))
def test_more_tokens_never_cost_less_anywhere(prompt: int, output: int, more: int) -> None:
    machine = Machine("m", ((HARDWARE, 1),))

    def months(prompt: int, output: int) -> list[float]:
        load = Load(prompt, output, requests_per_day=1e6)
        answer = compare(load, [("a:b", PRICE)], [Costed(machine, RENT)], FILE, (4,))
        return [offer.month_usd.value or 0.0 for offer in answer.offers]

    base = months(prompt, output)
    for longer in (months(prompt + more, output), months(prompt, output + more)):
        assert all(after >= before * (1 - 1e-9) for before, after in zip(base, longer, strict=True))


def test_serving_is_what_predict_says_of_the_same_question() -> None:
    machine = machine_of("g", find_part("RTX 4090"), 2)
    found = best_serving(FILE, LOAD.work, machine, (8,))
    assert isinstance(found, Serving)
    answer = predict(FILE, replace(LOAD.work, concurrency=8), machine.layouts[0][0])
    assert (found.copies, found.devices, found.ttft_s) == (2, 1, answer.speed["ttft_s"])
    assert found.machine_s.value == pytest.approx((answer.speed["end_to_end_s"].value or 0) / 16)


def test_one_request_at_a_time_is_what_the_reference_says_and_stands_beside_theory() -> None:
    file = model_file(find_model("llama3.1:8b"), "Q4_K_M")
    found = best_serving(file, LOAD.work, machine_of("g", find_part("RTX 4090"), 2))
    assert isinstance(found, Serving)
    alone = found.alone
    assert alone is not None
    assert (found.basis, alone.basis, alone.concurrency, alone.copies) == ("theory", "reference", 1, 2)
    answer = predict(file, LOAD.work, *catalogued(find_part("RTX 4090")))
    assert (alone.ttft_s, alone.time_per_token_s) == (answer.speed["ttft_s"], answer.speed["time_per_token_s"])
    assert best_serving(file, LOAD.work, machine_of("g", find_part("RTX 4090"), 2), (1,)) == alone
    stated = best_serving(file, LOAD.work, machine_of("g", find_part("RTX 4090"), 2), (8,))
    assert isinstance(stated, Serving)
    assert (stated.basis, stated.alone) == ("theory", None)


@given(st.floats(1, 1e6))
def test_the_reference_serves_where_it_needs_no_more_machines_and_else_bounds_from_above(per_day: float) -> None:
    alone = replace(serving_of(20.0, 15.0, 30.0), machine_s=Quantity(20.0, 15.0, 30.0, 2.0, "reference"))
    load = replace(LOAD, requests_per_day=per_day)
    offer = machine_offer("m", "rented", RENT, replace(serving_of(2.0), alone=alone), load)
    if machines_needed(per_day, 20.0) == machines_needed(per_day, 2.0):
        assert (offer.serving, offer.alone, offer.mark) == (alone, None, "")
    else:
        assert offer.alone is not None
        assert (offer.serving, offer.alone.serving, offer.mark) == (serving_of(2.0), alone, "≥")
        assert (offer.month_usd.value or 0.0) < (offer.alone.month_usd.value or 0.0)


def test_a_model_that_needs_several_gpus_is_split_and_its_price_is_no_lower_bound() -> None:
    big = model_file(find_model("llama3.1:70b"), "Q8_0")
    found = best_serving(big, LOAD.work, machine_of("g", find_part("RTX 4090"), 4), (1,))
    assert isinstance(found, Serving)
    assert (found.copies, found.devices) == (1, 4)
    offer = machine_offer("g", "rented", RENT, found, LOAD)
    assert (offer.at_least, offer.mark) == (False, "~")


def test_limits_choose_fewer_requests_at_once_or_rule_a_machine_out() -> None:
    machine = Machine("m", ((HARDWARE, 1),))
    free = best_serving(FILE, Workload(512, 128), machine)
    assert isinstance(free, Serving)
    limit = free.ttft_s.value or 0.0
    held = best_serving(FILE, Workload(512, 128), machine, limits=Limits(ttft_s=limit / 10))
    assert isinstance(held, Serving)
    assert held.concurrency < free.concurrency
    assert (held.ttft_s.value or 0) <= limit / 10
    refused = best_serving(FILE, Workload(512, 128), machine, limits=Limits(tpot_s=1e-6))
    assert isinstance(refused, Unserved)
    assert refused.obstacle == "too slow"
    assert "even in theory" in refused.reason


def test_what_does_not_fit_and_what_has_no_rates_is_not_served() -> None:
    small = Machine("m", ((replace(HARDWARE, memory_free_bytes=1000), 1),))
    unknown = Machine("m", ((replace(HARDWARE, bandwidth_bytes_per_s=None), 1),))
    nobody = Machine("m", ((replace(HARDWARE, memory_free_bytes=None), 1),))
    found = [best_serving(FILE, LOAD.work, machine) for machine in (small, unknown, nobody)]
    assert [entry.obstacle for entry in found if isinstance(entry, Unserved)] == [
        "does not fit",
        "speed unknown",
        "fit unknown",
    ]
    assert isinstance(best_serving(FILE, LOAD.work, nobody, accepted=("yes", "unknown")), Serving)


def test_a_limit_is_kept_for_sure_only_by_the_interval() -> None:
    machine = Machine("m", ((HARDWARE, 1),), coefficients())
    found = best_serving(FILE, Workload(512, 128), machine, (1,))
    assert isinstance(found, Serving)
    value, high = found.ttft_s.value or 0.0, found.ttft_s.high or 0.0
    assert found.basis == "calibrated"
    assert [meets(found, Limits(ttft_s=limit)) for limit in (high, (value + high) / 2)] == ["yes", "likely"]
    assert meets(replace(found, ttft_s=Quantity(value)), Limits(ttft_s=high)) == "theory"


def test_the_cheapest_is_ranked_by_month_and_each_exclusion_has_its_reason() -> None:
    fits = Machine("m", ((HARDWARE, 1),))
    small = Machine("small", ((replace(HARDWARE, memory_free_bytes=1000), 1),))
    dear, cheap = Costed(replace(fits, name="dear"), rent_stated(2.0)), Costed(fits, rent_stated(1.0))
    apis = [
        ApiCandidate("x:unknown", PRICE, Limits()),
        ApiCandidate("x:slow", PRICE, Limits(9.0, 0.01)),
        ApiCandidate("x:fast", Price(0.0001, None, 0.0001, "as stated"), Limits(0.1, 0.01)),
        ApiCandidate("x:unpriced", None, Limits(0.1, 0.01)),
    ]
    answer = cheapest(LOAD, Limits(8.0, 1.0), FILE, [dear, cheap, Costed(small, RENT)], apis)
    assert [(entry.offer.name, entry.meets) for entry in answer.ranked] == [
        ("x:fast", "stated"),
        ("m", "theory"),
        ("dear", "theory"),
    ]
    assert {entry.name: entry.obstacle for entry in answer.excluded} == {
        "small": "does not fit",
        "x:unknown": "latency unknown",
        "x:slow": "too slow",
        "x:unpriced": "price unknown",
    }
    assert "lower bounds" in answer.warnings[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt_tokens": 0},
        {"output_tokens": 0},
        {"cached_tokens": -1},
        {"cached_tokens": 900, "written_tokens": 101},
        {"requests_per_day": 0.0},
        {"requests_per_day": float("nan")},
        {"requests_per_day": float("inf")},
        {"utilisation": 0.0},
        {"utilisation": float("nan")},
    ],
)
def test_a_load_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(EstimatorError):
        replace(LOAD, **wrong)  # type: ignore[arg-type]


def test_cached_tokens_are_the_depth_of_a_machine_and_one_token_is_always_new() -> None:
    assert Load(1000, 300, cached_tokens=400).work == Workload(600, 300, depth_tokens=400)
    assert Load(1000, 300, cached_tokens=1000).work == Workload(1, 300, depth_tokens=999)
