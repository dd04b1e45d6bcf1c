"""From the words of a command line to what is run."""

from __future__ import annotations

import pytest

from harness.asking import backends_of, changed, door_of, shapes_of
from harness.errors import HarnessError
from harness.opening import lanes
from harness.plan import API_SHAPES, Plan, Shape, at_rates, checked, slo
from harness.target import Door


def door(*urls: str, backends: tuple[str, ...] = ("openai",), weights: str = "own") -> Door:
    return door_of(backends, urls, None, 0, None, weights, False)


def test_back_ends_are_named_once_each_in_their_order() -> None:
    assert backends_of("http, ollama,http") == ("http", "ollama")
    assert backends_of(None) is backends_of(",") is None


def test_an_unknown_back_end_is_refused_with_those_there_are() -> None:
    with pytest.raises(HarnessError, match="unknown back end 'vllm': choose from llamacpp, ollama, openai"):
        backends_of("ollama,vllm")


def test_a_rate_alone_keeps_the_first_of_the_usual_shapes() -> None:
    found = shapes_of(API_SHAPES, [None] * 4, "2,0.5", "poisson")
    assert [(s.prompt_tokens, s.arrival, s.rate_per_s) for s in found] == [(128, "poisson", 0.5), (128, "poisson", 2)]


def test_lengths_make_a_grid_and_what_is_not_said_has_its_default() -> None:
    assert shapes_of((), ["8,4", None, None, "2"], None, "poisson") == (Shape(4, 32, 0, 2), Shape(8, 32, 0, 2))


@pytest.mark.parametrize(
    ("lengths", "rate", "arrival", "said"),
    [
        (["x", None, None, None], None, "poisson", "'x' is no list of whole numbers"),
        ([None] * 4, "fast", "poisson", "'fast' is no list of rates"),
        ([None] * 4, "1", "uniform", "--arrival is constant or poisson"),
        ([None, None, None, "4"], "1", "poisson", "leave --concurrency out"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(lengths: list[str | None], rate: str, arrival: str, said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        shapes_of(API_SHAPES, lengths, rate, arrival)


def test_a_url_without_a_back_end_is_for_those_that_speak_openais_protocol() -> None:
    both = door("http://127.0.0.1:1/v1/", backends=("ollama", "openai", "http"))
    assert both.base_urls == {"openai": "http://127.0.0.1:1/v1", "http": "http://127.0.0.1:1/v1"}
    assert door("127.0.0.1:1", backends=("ollama",)).base_urls == {"ollama": "http://127.0.0.1:1"}


def test_a_url_for_one_back_end_is_for_it_alone() -> None:
    found = door("ollama=http://a:1", "http=http://b:2/v1", backends=("ollama", "http", "openai")).base_urls
    assert found == {"ollama": "http://a:1", "http": "http://b:2/v1"}


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/v1", "https://secret@host/v1", "https://host/v1?key=secret", "https://host/#secret"]
)
def test_a_url_that_holds_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(HarnessError, match="must not hold a key or password") as refused:
        door(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://host:99999", "http://host:port", "http://\x01host"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(HarnessError, match="is no URL: write http"):
        door(url)


def test_weights_are_own_or_synthetic() -> None:
    assert door(weights="synthetic", backends=("ollama",)).weights == "synthetic"
    with pytest.raises(HarnessError, match="--weights is own or synthetic, not 'none'"):
        door(weights="none")


def test_synthetic_weights_need_a_server_that_takes_them() -> None:
    with pytest.raises(HarnessError, match="add ollama to --backend"):
        lanes(Plan(("http",)), Door(weights="synthetic"))


def test_only_options_that_were_given_change_the_plan() -> None:
    found = changed(budget_s="2m", models="a,b", quants=None, seed=3)
    assert found == {"budget_s": 120, "models": ("a", "b"), "seed": 3}


def test_a_model_for_one_back_end_is_for_it_alone() -> None:
    plan = Plan(("http", "openai"), ("both", "openai=mine"))
    assert [[(lane.backend, lane.target.name) for lane in group] for group in lanes(plan, Door())] == [
        [("http", "both"), ("openai", "mine")]
    ]


def test_limits_are_read_with_their_unit() -> None:
    assert slo("ttft=1s, TPOT=80ms") == {"slo_ttft_s": 1.0, "slo_tpot_s": 0.08}


@pytest.mark.parametrize("text", ["", "ttft", "ttft=1", "e2e=1s", "ttft=-1s"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(HarnessError, match="is no limit: write --slo"):
        slo(text)


def test_each_shape_is_asked_at_each_rate_lowest_first() -> None:
    found = at_rates((Shape(8, 4), Shape(16, 4)), [2.0, 1.0], "constant")
    assert [(s.prompt_tokens, s.rate_per_s) for s in found] == [(8, 1.0), (16, 1.0), (8, 2.0), (16, 2.0)]


@pytest.mark.parametrize("shape", [Shape(8, 4, rate_per_s=1.0), Shape(8, 4, arrival="poisson")])
def test_a_rate_goes_with_an_arrival_process(shape: Shape) -> None:
    with pytest.raises(HarnessError, match="a rate goes with arrival constant or poisson"):
        checked(Plan(shapes=(shape,)))
