"""Break-even by hand and by property: one machine, several, never; what the interval of the speed changes."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from estimator.answer import Quantity
from estimator.costs.break_even import BreakEven, break_even
from estimator.costs.offers import Load, Offer, api_offer, machine_offer
from estimator.costs.outlay import Outlay
from estimator.costs.serving import Unserved
from estimator.price_list import Price
from estimator.theory.cost import (
    always_cheaper_requests_per_day,
    break_even_requests_per_day,
    machine_requests_per_day,
    machines_needed,
)
from tests.estimator.examples import serving_of

PRICE = Price(10.0, 1.0, 30.0, "as stated")
LOAD = Load(1000, 300, requests_per_day=10_000)
RENT = Outlay("rented", 1.0, ("$1 an hour, as stated",))
_usd = st.floats(1e-6, 1e3)
_machine_s = st.floats(1e-3, 1e4)


def point(price: float, machine_s: float, outlay: Outlay, load: Load = LOAD) -> BreakEven:
    """Where a machine breaks even with an API of that price a request."""
    api = Offer("api", "api", request_usd=Quantity(price, basis="stated"))
    return break_even(api, machine_offer("m", "rented", outlay, serving_of(machine_s), load), outlay, load)


def test_break_even_is_the_rent_of_a_day_over_the_price_of_a_request() -> None:
    found = point(0.024, 8.64, RENT)
    assert found.verdict == "from"
    assert found.requests_per_day == pytest.approx(1000)
    assert found.tokens_per_day == pytest.approx(1_300_000)
    assert found.throughput_needed == pytest.approx(0.1)
    assert found.always_from_tokens_per_day == pytest.approx(1_300_000)


def test_a_machine_that_cannot_carry_the_load_at_which_it_would_pay_never_pays() -> None:
    found = point(0.024, 100.0, RENT)
    assert (found.verdict, found.requests_per_day, found.tokens_per_day) == ("never", None, None)
    assert found.reason == (
        "a machine in full use costs $0.0278 a request, the API $0.0240, even at the speed that theory allows"
    )


def test_electricity_that_costs_more_than_the_api_never_pays() -> None:
    found = point(1e-5, 10.0, Outlay("owned", 0.0, (), usd_per_kwh=0.36, busy_w=1000.0))
    assert found.verdict == "never"
    assert found.reason.startswith("electricity alone costs $0.00100 a request, the API $0.0000100")


def test_idle_draw_is_paid_all_day_and_saved_while_a_request_is_worked_on() -> None:
    # A day's 86,400 s at 100 W and $0.36 a kWh are $0.864, a request's 10 s at 300 - 100 W are $0.0002.
    outlay = Outlay("owned", 0.01, (), usd_per_kwh=0.36, busy_w=300.0, idle_w=100.0)
    assert point(0.0102, 10.0, outlay).requests_per_day == pytest.approx((0.24 + 0.864) / (0.0102 - 0.0002))


def test_a_machine_that_costs_nothing_is_always_cheaper() -> None:
    assert point(0.01, 10.0, Outlay("owned", 0.0, ())).verdict == "always"


def test_where_the_interval_of_the_speed_changes_the_verdict_it_is_said() -> None:
    api = Offer("api", "api", request_usd=Quantity(0.024, basis="stated"))
    for machine_s, verdict in ((80.0, "from"), (90.0, "never")):
        offer = machine_offer("m", "rented", RENT, serving_of(machine_s, 70.0, 110.0), LOAD)
        found = break_even(api, offer, RENT, LOAD)
        assert found.verdict == verdict
        assert "uncertain: at the slow end of the interval of the speed never" in found.reason


def test_without_a_price_or_a_speed_break_even_is_unknown() -> None:
    free = Offer("api", "api")
    assert break_even(free, machine_offer("m", "rented", RENT, serving_of(1.0), LOAD), RENT, LOAD).verdict == "unknown"
    api = api_offer("a:b", PRICE, LOAD)
    unserved = machine_offer("m", "rented", RENT, Unserved("does not fit", "too small"), LOAD)
    found = break_even(api, unserved, RENT, LOAD)
    assert (found.verdict, found.reason) == ("unknown", "m cannot be compared: too small")


@given(_usd, st.floats(0, 1e3), _usd, _machine_s)
def test_at_the_break_even_point_both_cost_the_same(fixed: float, own: float, api: float, machine_s: float) -> None:
    carries = machine_requests_per_day(machine_s)
    found = break_even_requests_per_day(fixed, own, api, carries)
    if found is None:
        for share in (0.01, 0.5, 1.0):
            assert fixed + own * carries * share >= api * carries * share * (1 - 1e-8)
    else:
        assert fixed + own * found == pytest.approx(api * found, rel=1e-6)
        assert machines_needed(found, machine_s) == 1


@given(st.floats(1, 1e6), st.floats(1.0001, 100), st.floats(1, 1e4))
def test_above_the_load_that_is_named_more_machines_never_fall_behind(even: float, ratio: float, above: float) -> None:
    carries = even * ratio
    always = always_cheaper_requests_per_day(even, carries)
    assume(always is not None)
    load = (always or 0.0) * above
    # n machines are paid for by n x even requests.
    assert machines_needed(load, 86_400 / carries) * even <= load * (1 + 1e-6)


def test_between_break_even_and_that_load_they_do() -> None:
    # Even at 60 of 100 requests: 2 machines need 120, so 101 requests are dearer again; 3 need 180, 4 need 240.
    assert always_cheaper_requests_per_day(60, 100) == 120
    assert always_cheaper_requests_per_day(75, 100) == 225
    assert always_cheaper_requests_per_day(100, 100) is None
