"""`estimator fit`: yes, yes with other settings, or no; the largest that fits; never a false yes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator.catalog import find_model, models
from estimator.coefficients import Coefficients, HeldOut
from estimator.device import catalogued_hardware
from estimator.errors import EstimatorError
from estimator.fits.choices import (
    Largest,
    Question,
    best_quant,
    fit_answer,
    largest,
    largest_context_tokens,
    most,
)
from estimator.fits.text import fit_text
from estimator.hardware import find_parts
from estimator.needs import memory_and_verdict
from estimator.predict import predict
from estimator.specs import Hardware, Host, Model, Workload
from estimator.tensors import model_file
from estimator.theory.bounds import bounded_need
from estimator.theory.kv_cache import KV_TYPES
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES
from tests.estimator.examples import coefficients

GIB = 2**30
MISTRAL = find_model("mistral:7b")
WORK = Workload(1, 1, context_tokens=8192)
KINDS = st.sampled_from(KV_TYPES)
MODELS = st.sampled_from(models())
CONTEXTS = st.integers(2, 200_000)


def computer(free_bytes: int | None) -> Hardware:
    return Hardware("Test CPU", free_bytes, free_bytes, None, None, "stated")


def gpu(text: str, host_bytes: int | None = None) -> Hardware:
    part, devices = find_parts(text)
    host = None if host_bytes is None else Host(host_bytes, None, "stated")
    return replace(catalogued_hardware(part, devices), host=host)


def asked(
    hardware: Hardware,
    model: Model = MISTRAL,
    quant: str = "Q4_K_M",
    fitted: Coefficients | None = None,
    **work: object,
) -> Question:
    return Question(model_file(model, quant), replace(WORK, **work), hardware, fitted)  # type: ignore[arg-type]


def needed(question: Question) -> int:
    return question.verdict().needed_bytes


def test_it_is_a_yes_at_exactly_the_upper_bound_and_not_a_byte_below() -> None:
    bound = bounded_need(model_file(MISTRAL, "Q4_K_M"), WORK, X86_AVX2_REPACKED_TYPES)
    exact = bound.anonymous_bytes + bound.hot_file_bytes
    for free, word, margin in ((exact, "yes", 0), (exact - 1, "yes with settings", -1)):
        found = fit_answer(asked(computer(free)))
        assert (found.answer, found.verdict.margin_bytes) == (word, margin)


def test_predict_and_fit_never_disagree() -> None:
    for free in (4 * GIB, 6 * GIB, 8 * GIB):
        for fitted in (None, coefficients()):
            question = asked(computer(free), fitted=fitted)
            assert fit_answer(question).verdict == predict(question.file, WORK, question.hardware, fitted).fit


def test_the_worst_that_was_held_out_bounds_memory_where_it_exceeds_the_interval() -> None:
    held_out = {"memory_anonymous": HeldOut(0.01, 2.0, 5, (-0.05, 0.05)), "memory_file": HeldOut(0.0, 0.0, 5, (0, 0))}
    question = asked(computer(8 * GIB), fitted=coefficients(held_out=held_out))
    memory = memory_and_verdict(question.file, WORK, question.hardware, question.coefficients, "engineering")[0]
    anonymous = memory["anonymous_bytes"].value
    assert anonymous is not None
    assert question.verdict().anonymous_bytes == pytest.approx(3 * anonymous, abs=1)


def test_a_process_that_was_not_measured_is_counted_all_the_same() -> None:
    # What theory knows would fit; the process around it (60 MiB and more of libraries, strings, nodes) would not.
    question = asked(computer(0))
    memory = memory_and_verdict(question.file, WORK, question.hardware, None, "engineering")[0]
    theory = memory["anonymous_bytes"].value
    assert theory is not None
    assert needed(question) - max(0, question.file.weight_bytes - (memory["repacked_bytes"].value or 0)) > theory + 60e6


def test_what_does_not_fit_as_asked_is_offered_with_single_changes_first() -> None:
    # 8,192 tokens need 1 GiB of F16 cache, 0.53 of Q8_0: half a GiB too little.
    question = asked(computer(needed(asked(computer(0))) - GIB // 3))
    found = fit_answer(question)
    assert found.answer == "yes with settings"
    assert [setting.changed for setting in found.settings] == [("kv_type",), ("context",)]
    assert found.settings[0].kv_type == "Q8_0"
    for setting in found.settings:
        again = question.verdict(context_tokens=setting.context_tokens, kv_type=setting.kv_type)
        assert again.fits == "yes"
        assert again == setting.verdict


def test_changes_together_are_offered_where_no_single_one_does() -> None:
    least = asked(computer(0), context_tokens=2048, kv_type="Q4_0")
    found = fit_answer(asked(computer(needed(least)), context_tokens=2048 * 16))
    assert [setting.changed for setting in found.settings] == [("context", "kv_type")]
    assert (found.settings[0].context_tokens, found.settings[0].kv_type) == (2048, "Q4_0")


def test_nothing_is_offered_where_the_weights_alone_are_too_much() -> None:
    found = fit_answer(asked(computer(3 * GIB)))
    assert (found.answer, found.settings) == ("no", ())
    assert found.largest == Largest({"F16": 0, "Q8_0": 0, "Q4_0": 0}, 0, None)


def test_weights_that_would_be_read_from_disk_again_and_again_are_no_yes() -> None:
    question = asked(computer(3 * GIB), quant="Q8_0")
    assert question.verdict().fits == "tight"
    assert fit_answer(question).answer == "no"
    assert "evicted" in fit_text(fit_answer(question), ())


def test_layers_are_offered_as_far_as_gpu_and_host_hold_them() -> None:
    question = asked(gpu("RTX 3060 12GB", 64 * GIB), find_model("llama3.1:8b"), "F16")
    found = fit_answer(question)
    assert found.answer == "yes with settings"
    layers = next(setting for setting in found.settings if setting.changed == ("gpu_layers",))
    assert layers.gpu_layers is not None
    assert question.verdict(gpu_layers=layers.gpu_layers).fits == "yes"
    assert question.verdict(gpu_layers=layers.gpu_layers + 1).fits == "no"


def test_layers_for_a_host_that_nobody_described_are_no_yes() -> None:
    found = fit_answer(asked(gpu("RTX 3060 12GB"), find_model("llama3.1:8b"), "F16"))
    assert found.answer == "unknown"
    assert {setting.verdict.fits for setting in found.settings} == {"unknown"}
    assert "--host-memory" in fit_text(found, ())
    assert fit_answer(asked(gpu("RTX 3060 12GB", 2 * GIB), find_model("llama3.1:8b"), "F16")).answer == "no"


def test_memory_of_unknown_size_gives_unknown() -> None:
    found = fit_answer(asked(gpu("EPYC 9654")))
    assert (found.answer, found.settings, found.largest.context_tokens) == ("unknown", (), {})
    assert "nobody said" in fit_text(found, ())


def test_each_of_several_gpus_is_shown_and_the_fullest_decides() -> None:
    found = fit_answer(asked(gpu("3x RTX 3090"), find_model("llama3.1:70b")))
    assert len(found.device_bytes) == 3
    assert found.verdict.needed_bytes >= 3 * max(found.device_bytes)


def test_the_largest_are_the_last_that_fit() -> None:
    question = asked(computer(7 * GIB))
    found = largest(question)
    context = found.context_tokens["F16"]
    assert 8192 < context < 32_768
    assert question.verdict(context_tokens=context).fits == "yes"
    assert question.verdict(context_tokens=context + 1).fits != "yes"
    assert question.verdict(concurrency=found.concurrency).fits == "yes"
    assert question.verdict(concurrency=found.concurrency + 1).fits != "yes"
    assert found.context_tokens["Q8_0"] > context
    assert found.quant == "Q6_K"


def test_the_largest_context_is_never_more_than_the_models_own() -> None:
    assert largest_context_tokens(asked(computer(10**15))) == 32_768
    assert most(1, 100, lambda _: True) == 100


def test_without_flash_attention_no_other_cache_is_offered() -> None:
    question = asked(computer(7 * GIB), flash_attention=False)
    assert set(largest(question).context_tokens) == {"F16"}
    offered = fit_answer(asked(computer(5 * GIB), flash_attention=False, context_tokens=32_768)).settings
    assert {setting.kv_type for setting in offered} == {"F16"}


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 5000))
def test_bisection_finds_the_last_number_that_holds(least: int, span: int, last: int) -> None:
    questions = 0

    def holds(number: int) -> bool:
        nonlocal questions
        questions += 1
        return number <= last

    found = most(least, least + span, holds)
    assert found == (min(last, least + span) if least <= last else 0)
    assert questions <= 15


@given(MODELS, st.tuples(CONTEXTS, CONTEXTS), KINDS, st.integers(1, 6), st.booleans())
def test_more_context_is_never_needed_less(
    model: Model, contexts: tuple[int, int], kind: str, sequences: int, on_gpu: bool
) -> None:
    hardware = gpu("2x RTX 3090") if on_gpu else computer(0)
    less, more = (
        needed(asked(hardware, model, context_tokens=tokens, kv_type=kind, concurrency=sequences))
        for tokens in sorted(contexts)
    )
    assert less <= more


@given(MODELS, CONTEXTS, st.integers(1, 60), st.booleans())
def test_one_more_request_never_needs_less(model: Model, context: int, count: int, on_gpu: bool) -> None:
    hardware = gpu("2x RTX 3090") if on_gpu else computer(0)
    one, two = (needed(asked(hardware, model, context_tokens=context, concurrency=n)) for n in (count, count + 1))
    assert one <= two


@settings(max_examples=30)
@given(MODELS, CONTEXTS, st.booleans())
def test_more_bits_in_weights_or_cache_never_need_less(model: Model, context: int, on_gpu: bool) -> None:
    hardware = gpu("2x RTX 3090") if on_gpu else computer(0)
    files = [model_file(model, quant) for quant in ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")]
    needs = [needed(Question(file, replace(WORK, context_tokens=context), hardware)) for file in files]
    assert needs == sorted(needs)
    by_cache = [needed(asked(hardware, model, context_tokens=context, kv_type=kind)) for kind in reversed(KV_TYPES)]
    assert by_cache == sorted(by_cache)


@given(MODELS, st.integers(1, 80), st.integers(1, 80))
def test_more_layers_of_a_model_never_need_less(model: Model, one: int, other: int) -> None:
    fewer, more = (
        needed(asked(computer(0), replace(model, layers=max(count, model.dense_layers + 1), parameters=None), "Q8_0"))
        for count in sorted((one, other))
    )
    assert fewer <= more


@settings(max_examples=10)
@given(MODELS, st.integers(1, 400), CONTEXTS)
def test_whatever_is_offered_fits(model: Model, free_gib: int, context: int) -> None:
    question = asked(computer(free_gib * GIB), model, context_tokens=min(context, model.context_tokens))
    found = fit_answer(question)
    margins = [setting.verdict.margin_bytes for setting in found.settings]
    assert all(margin is not None and margin >= 0 for margin in margins)
    quant = best_quant(question)
    assert quant is None or needed(replace(question, file=model_file(model, quant))) <= free_gib * GIB
    assert max(map(len, fit_text(found, ()).splitlines())) <= 80


@pytest.mark.parametrize("work", [{"concurrency": 0}, {"context_tokens": 1}, {"gpu_layers": 3}])
def test_nonsense_is_refused(work: dict[str, object]) -> None:
    with pytest.raises(EstimatorError):
        fit_answer(asked(computer(GIB), **work))  # type: ignore[arg-type]
