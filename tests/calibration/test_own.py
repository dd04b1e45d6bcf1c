"""Runs of the harness on a GPU become cells that move the reference.

No real GPU was there: the engine's times are planted, NVML is simulated below its Python binding.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.errors import CalibrationError, NothingToFit
from calibration.own import own_results
from estimator import catalog
from estimator.hardware import find_part
from estimator.reference.file import shipped_reference
from estimator.reference.machine import machine_of_part
from estimator.reference.measured import own_measurements
from estimator.reference.speed import Published, reference_answer
from estimator.specs import Workload
from estimator.tensors import model_file
from estimator.theory.terms import decode_terms, prefill_terms
from harness.errors import BadResults
from harness.journal import Journal, read_record
from harness.record import Samples
from harness.samples import PowerSources, Sample
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.rapl import Rapl
from tests.calibration.making import WORKS, planted_run
from tests.calibration.test_odd_records import rewritten
from tests.harness.fake_nvml import FakeGpu, FakeNvml, nvml
from tests.planted import file_of, seconds

PID = 4711
CUDA = "CUDA : ARCHS = 900 | USE_GRAPHS = 1 | CPU : AVX2 = 1 |"
MODELS = ("qwen2.5:0.5b", "llama3.2:1b")


def sampled(*gpus: FakeGpu) -> tuple[PowerSources, tuple[Sample, ...]]:
    """What the real sensors say of these GPUs."""
    with nvml(FakeNvml(*gpus)):
        meters = Meters(Gpus(), Rapl(Path("nowhere")))
        meters.read()
        samples = tuple(meters.added(Sample(at, 2**30, 2**29, 2**29, None, 0.0), {PID}) for at in (5, 10))
        return meters.sources, samples


def gpu_run(
    folder: Path, *gpus: FakeGpu, system_info: str = CUDA, models: tuple[str, ...] = MODELS, **options: object
) -> Path:
    """A journal of an engine on these GPUs."""
    planted = read_record(planted_run(folder.with_name(f"{folder.name}-plain"), models) / "journal.jsonl")
    sources, samples = sampled(*gpus)
    with Journal(folder) as journal:
        journal.append(replace(planted.header, run_id=folder.name))
        for subject in planted.subjects:
            told = {**subject.options, "gpu_layers": -1, **options}
            journal.append(replace(subject, backend="llamacpp", system_info=system_info, options=told))
            journal.append(Samples(subject.subject_id, samples, 0.0, sources))
        for request in planted.requests:
            journal.append(replace(request, cell=replace(request.cell, backend="llamacpp")))
        for line in planted.ends:
            journal.append(line)
    return folder


def card() -> FakeGpu:
    return FakeGpu(processes={PID: 2**30}, name="NVIDIA H100 80GB HBM3")


def test_every_cell_of_a_gpu_is_written_in_the_format_that_is_read(tmp_path: Path) -> None:
    found = own_results([gpu_run(tmp_path / "run", card())])
    assert (found.device, found.back_end) == ("NVIDIA H100 80GB HBM3", "CUDA")
    path = tmp_path / "own.json"
    path.write_text(json.dumps(found.entries), "utf-8")
    own = own_measurements(path, find_part("H100 SXM 80GB"))
    assert own.left_out == {}
    assert len(own.cells) == len(found.entries) == 2 * len(MODELS) * len(WORKS)
    for cell in own.cells:
        assert cell.file.model.parameters in {catalog.find_model(name).parameters for name in MODELS}
    deep = [cell.work for cell in own.cells if cell.phase == "prefill" and cell.work.depth_tokens == 1200]
    assert [work.prompt_tokens for work in deep] == [16] * len(MODELS)
    after = [cell.work for cell in own.cells if cell.phase == "decode" and cell.work.depth_tokens == 1216]
    assert [work.output_tokens for work in after] == [12] * len(MODELS)


def test_seconds_survive_the_way_through_the_file(tmp_path: Path) -> None:
    found = own_results([gpu_run(tmp_path / "run", card(), models=("llama3.2:1b",))])
    path = tmp_path / "own.json"
    path.write_text(json.dumps(found.entries), "utf-8")
    own = own_measurements(path, find_part("H100 SXM 80GB"))
    file = file_of("llama3.2:1b")
    prefill = next(cell for cell in own.cells if cell.phase == "prefill" and cell.work.depth_tokens == 400)
    assert prefill.seconds == pytest.approx(seconds(prefill_terms(file, Workload(48, 12, 400))), rel=1e-6)
    decode = next(cell for cell in own.cells if cell.phase == "decode" and cell.work.depth_tokens == 448)
    assert decode.seconds == pytest.approx(seconds(decode_terms(file, Workload(48, 12, 400))), rel=1e-6)


def test_other_models_are_answered_nearer_to_what_the_machine_does(tmp_path: Path) -> None:
    """The planted engine is far slower than an H100: the moved answer must follow it."""
    path = tmp_path / "own.json"
    path.write_text(json.dumps(own_results([gpu_run(tmp_path / "run", card())]).entries), "utf-8")
    part = find_part("H100 SXM 80GB")
    file, work = model_file(catalog.find_model("llama3.2:3b"), "Q8_0"), Workload(48, 12)
    plain = Published(shipped_reference(), machine_of_part(part))
    before, after = (
        reference_answer(file, work, asked).step for asked in (plain, replace(plain, own=own_measurements(path, part)))
    )
    assert before is not None
    assert after is not None
    assert before.value is not None
    assert after.value is not None
    assert (before.basis, after.basis) == ("reference", "moved")
    assert after.value > 3 * before.value


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"system_info": ""}, "does not say what it computes on"),
        ({"system_info": "CPU : AVX2 = 1 |"}, "computed on the CPU"),
        ({"gpu_layers": 5}, "not whole on the GPU"),
        ({"flash_attention": "disabled"}, "without flash attention"),
    ],
)
def test_what_no_single_gpu_computed_is_left_out_with_the_reason(
    tmp_path: Path, options: dict[str, str], words: str
) -> None:
    run = gpu_run(tmp_path / "run", card(), **options)  # type: ignore[arg-type]
    with pytest.raises(NothingToFit, match=words):
        own_results([run])


def test_two_gpus_that_hold_the_model_are_no_single_one_and_an_idle_one_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(NothingToFit, match="several GPUs"):
        own_results([gpu_run(tmp_path / "both", card(), card())])
    assert own_results([gpu_run(tmp_path / "one", card(), FakeGpu())]).entries


def test_a_gpu_of_which_no_driver_tells_is_named_by_the_user(tmp_path: Path) -> None:
    run = gpu_run(tmp_path / "run", system_info="ROCm : NO_VMM = 1 |")
    with pytest.raises(NothingToFit, match="name it with --gpu"):
        own_results([run])
    found = own_results([run], device="AMD Radeon RX 7900 XTX")
    assert (found.device, found.back_end) == ("AMD Radeon RX 7900 XTX", "ROCm")


def test_runs_with_several_back_ends_are_not_mixed(tmp_path: Path) -> None:
    gpu_run(tmp_path / "one", card())
    gpu_run(tmp_path / "two", card(), system_info="Vulkan : NVIDIA H100 |")
    with pytest.raises(CalibrationError, match="with CUDA and .* with Vulkan: name those of one"):
        own_results([tmp_path / "one", tmp_path / "two"])


@pytest.mark.parametrize("options", [{"ubatch_tokens": "many"}, {"slots": 0}, {"threads": [2]}])
def test_options_that_are_none_are_an_error_in_one_line(tmp_path: Path, options: dict[str, object]) -> None:
    run = gpu_run(tmp_path / "run", card(), **options)  # type: ignore[arg-type]
    with pytest.raises(BadResults, match=r"no whole number above 0; leave that run out") as caught:
        own_results([run])
    assert "\n" not in str(caught.value)


def test_a_model_that_is_none_is_left_out_with_the_reason(tmp_path: Path) -> None:
    record = read_record(gpu_run(tmp_path / "run", card()))
    odd = tuple(replace(s, model={**s.model, "model": "llama"}) for s in record.subjects[:1])
    rewritten(tmp_path / "odd", replace(record, subjects=odd))
    with pytest.raises(NothingToFit, match="no usable cell of NVIDIA H100 80GB HBM3: "):
        own_results([tmp_path / "odd"])


def test_a_copy_of_a_run_is_counted_once_and_named(tmp_path: Path) -> None:
    run = gpu_run(tmp_path / "runs" / "one", card())
    alone = own_results([run])
    shutil.copytree(run, tmp_path / "runs" / "two")
    shutil.rmtree(tmp_path / "runs" / "one-plain")
    both = own_results([tmp_path / "runs"])
    assert both.entries == alone.entries
    assert any("two/journal.jsonl: a copy of " in reason for reason in both.left_out)


@pytest.mark.slow
def test_the_command_writes_the_file_and_says_what_is_in_it(tmp_path: Path) -> None:
    run = gpu_run(tmp_path / "run", card())
    output = tmp_path / "own.json"
    command = [sys.executable, "-m", "calibration", "own", str(run), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "16 cells of NVIDIA H100 80GB HBM3 with CUDA" in done.stdout
    assert len(json.loads(output.read_text("utf-8"))) == 16
    failed = subprocess.run([*command[:-1], str(tmp_path)], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
    none = subprocess.run([*command[:4], str(run.with_name("run-plain"))], capture_output=True, text=True, check=False)
    assert (none.returncode, none.stderr.count("\n")) == (8, 1)
