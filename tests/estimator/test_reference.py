"""The reference's answers from a small file made by hand: prices, residual, intervals, refusals."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from estimator import catalog, predict
from estimator.answer import Quantity
from estimator.device import catalogued_hardware
from estimator.errors import UnreadableFile
from estimator.hardware import find_part
from estimator.plain import to_plain
from estimator.reference.amounts import FEATURES, ideal_times, position, shares
from estimator.reference.file import (
    HeldOutMachines,
    Moving,
    PhaseFit,
    Point,
    Reference,
    Residual,
    Strength,
    read_reference,
    reference_text,
    shipped_reference,
)
from estimator.reference.machine import machine_of_part
from estimator.reference.speed import Published, reference_answer
from estimator.render import answer_text
from estimator.specs import Workload
from estimator.tensors import model_file

FILE = model_file(catalog.find_model("llama2:7b"), "Q4_0")
WORK = Workload(512, 128)
PART = find_part("RTX 3090")
MACHINE = machine_of_part(PART)
BUILD = {"build_year": 2026.0, "single_run": 0.0}
MOVING = Moving(Strength(0.5, 0.3, 1.0, 0.2), 1.1, {})
HELD_OUT = HeldOutMachines(40, 12, 0.1, 0.05, 0.4, math.log(1.5))
PRICES = {
    "decode": {"weights.plain": 1.25, "weights.k": 1.5, "step": 1e-4},
    "prefill": {"matmul.plain": 2.0, "matmul.k": 2.0},
}


def phase_fit(phase: str, **changes: object) -> PhaseFit:
    wide = (1e9,) * len(FEATURES)
    low = tuple(-value for value in wide)
    fit = PhaseFit(PRICES[phase], (), {"CUDA": 2.0}, (), {}, {"CUDA": HELD_OUT}, low, wide, ("Ampere",))
    return replace(fit, **changes)  # type: ignore[arg-type]


def reference(**changes: object) -> Reference:
    groups = {"discrete": {phase: phase_fit(phase, **changes) for phase in PRICES}}
    years, moving = {"CUDA": (2023.9, 2026.0)}, dict.fromkeys(PRICES, MOVING)
    return Reference("made", "sha256:0", 40, {"CUDA": ("NVIDIA GeForce RTX 3080",)}, years, groups, moving)


def residual(at: tuple[float, ...], family: str = "Ampere") -> dict[str, object]:
    """A single measurement at `at`, from which physics was off by a factor of exp(0.2)."""
    return {"points": (Point(at, "CUDA", family, "NVIDIA"),), "residuals": {"CUDA": Residual(1.0, 0.1, (0.2,))}}


def step(published: Published, work: Workload = WORK) -> Quantity:
    answer = reference_answer(FILE, work, published)
    assert answer.step is not None, answer.warnings
    return answer.step


def test_a_step_is_factor_times_price_times_ideal_time() -> None:
    """Q4_0's head is Q6_K: two classes of weights, each with its own price."""
    times = ideal_times("decode", FILE, WORK, MACHINE)
    whole = 2.0 * (1.25 * times["weights.plain"] + 1.5 * times["weights.k"] + 1e-4)
    assert step(Published(reference(), MACHINE)).value == pytest.approx(whole)


def test_an_interval_is_a_factor_to_both_sides_and_wider_far_from_all_measurements() -> None:
    at = position("decode", FILE, WORK, MACHINE, BUILD)
    near = step(Published(reference(**residual(at)), MACHINE))
    assert near.value is not None
    assert near.high == pytest.approx(near.value * 1.5)
    assert near.low == pytest.approx(near.value / 1.5)
    plain = step(Published(reference(), MACHINE))
    assert plain.value is not None
    assert near.value == pytest.approx(plain.value * math.exp(0.2))
    away = step(Published(reference(**residual(tuple(value + 9 for value in at))), MACHINE))
    assert away.value == pytest.approx(plain.value)
    assert away.high == pytest.approx(plain.value * 1.5**2)


def test_another_family_is_farther_than_the_same() -> None:
    at = position("decode", FILE, WORK, MACHINE, BUILD)
    widths = []
    for family in ("Ampere", "Pascal"):
        found = step(Published(reference(**residual(at, family)), MACHINE))
        assert found.value is not None
        assert found.high is not None
        widths.append(found.high / found.value)
    assert widths[0] < widths[1]


def test_too_few_machines_give_a_value_without_interval_and_the_reason() -> None:
    few = replace(HELD_OUT, machines=3, reach=None)
    answer = reference_answer(FILE, WORK, Published(reference(held_out={"CUDA": few}), MACHINE))
    assert answer.step is not None
    assert (answer.step.low, answer.step.high) == (None, None)
    assert "time per token: no interval: only 3 machines were measured with CUDA" in answer.warnings


@pytest.mark.parametrize(
    ("published", "work", "words"),
    [
        (Published(reference(), MACHINE, devices=2), WORK, "single devices"),
        (Published(reference(), MACHINE), replace(WORK, concurrency=4), "one stream"),
        (Published(reference(), replace(MACHINE, back_end="Metal")), WORK, "nothing usable was published for Metal"),
        (Published(reference(), replace(MACHINE, fp32_flop_per_s=None)), WORK, "FP32 rate of NVIDIA GeForce RTX 3090"),
    ],
)
def test_what_the_reference_cannot_say_it_does_not_say(published: Published, work: Workload, words: str) -> None:
    answer = reference_answer(FILE, work, published)
    assert answer.step is None
    assert words in " ".join(answer.warnings)


def test_outside_of_what_was_measured_is_said_with_how_far() -> None:
    at = position("decode", FILE, WORK, MACHINE, BUILD)
    high = (at[0] - math.log(2.0), *[1e9] * (len(at) - 1))
    answer = reference_answer(FILE, WORK, Published(reference(highest=high, families=("Ada",)), MACHINE))
    assert "time per token: extrapolated: memory bandwidth is 2 times above any measured" in answer.warnings
    assert "time per token: extrapolated: no Ampere was measured" in answer.warnings


def test_the_answer_names_its_basis_and_shows_theory_beside_it() -> None:
    hardware = catalogued_hardware(PART)
    answer = predict(FILE, WORK, hardware, Published(reference(), MACHINE))
    assert answer.calibration is not None
    assert "1 machines with CUDA (it is not among them), builds of 2023 to 2026" in answer.calibration
    assert "decode off by 10% on average, 5% at the median (40 rows of 12 machines)" in answer.calibration
    token = answer.speed["time_per_token_s"]
    assert token.basis == "reference"
    assert token.theory == predict(FILE, WORK, hardware).speed["time_per_token_s"].value
    assert not any("theory only" in warning for warning in answer.warnings)
    assert "reference" in answer_text(answer)


def test_where_the_reference_abstains_theory_stands_and_says_so() -> None:
    answer = predict(FILE, replace(WORK, concurrency=2), catalogued_hardware(PART), Published(reference(), MACHINE))
    assert answer.speed["time_per_token_s"].basis == "theory"
    assert answer.calibration is None
    assert any("theory only" in warning for warning in answer.warnings)


def test_textbook_formulas_leave_the_reference_aside() -> None:
    answer = predict(FILE, WORK, catalogued_hardware(PART), Published(reference(), MACHINE), formulas="textbook")
    assert answer.speed["time_per_token_s"].basis == "theory"


def test_processor_cores_of_a_wide_apple_chip_get_243_of_400_of_its_bandwidth() -> None:
    wide, narrow = (machine_of_part(find_part(name), "CPU") for name in ("M1 Max", "M1"))
    assert wide.bandwidth_bytes_per_s == pytest.approx(find_part("M1 Max").bandwidth_bytes_per_s * 243 / 400)
    assert narrow.bandwidth_bytes_per_s == find_part("M1").bandwidth_bytes_per_s
    assert machine_of_part(find_part("M1 Max")).bandwidth_bytes_per_s == find_part("M1 Max").bandwidth_bytes_per_s


def test_shares_of_weight_classes_add_up_to_one() -> None:
    assert sum(shares(FILE).values()) == pytest.approx(1.0)


def test_a_file_survives_writing_and_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_text(reference_text(reference()), "utf-8")
    assert read_reference(path) == reference()
    path.write_text(json.dumps({**to_plain(reference()), "format": 99}), "utf-8")
    with pytest.raises(UnreadableFile, match="no reference of format"):
        read_reference(path)
    with pytest.raises(UnreadableFile, match="cannot read the reference"):
        read_reference(tmp_path / "none.json")


@pytest.mark.parametrize("name", ["RTX 4090", "H100 SXM 80GB", "M2 Max", "RX 7900 XTX", "Arc A770"])
def test_the_shipped_reference_lies_between_theory_and_ten_times_it(name: str) -> None:
    answer = reference_answer(FILE, WORK, Published(shipped_reference(), machine_of_part(find_part(name))))
    theory = predict(FILE, WORK, catalogued_hardware(find_part(name))).speed
    assert answer.step is not None
    assert answer.prefill is not None
    for found, ideal in ((answer.step, theory["time_per_token_s"]), (answer.prefill, theory["ttft_s"])):
        assert found.value is not None
        assert ideal.value is not None
        assert ideal.value <= found.value <= 15 * ideal.value
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.value < found.high
