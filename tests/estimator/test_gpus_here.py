"""GPUs of this machine: what is free on them now, told by a driver that is faked below its binding."""

import json
from collections.abc import Iterator

import pynvml
import pytest

from estimator.__main__ import main
from estimator.device import gpus_hardware
from estimator.errors import EstimatorError
from estimator.gpus import Gpu, gpus_here
from estimator.hardware import part_of_gpu
from tests.harness.fake_nvml import FakeGpu, FakeNvml, nvml

GIB = 2**30
FREE = FakeGpu(name="NVIDIA GeForce RTX 3090", total_bytes=24 * GIB, used_bytes=GIB // 4)
BUSY = FakeGpu(name="NVIDIA GeForce RTX 3090", total_bytes=24 * GIB, used_bytes=18 * GIB)
OTHER = FakeGpu(name="Tesla T4", total_bytes=15 * GIB, used_bytes=0)
FIT = ["fit", "--model", "llama3.1:8b", "--quant", "q8_0", "--context", "8192", "--gpus"]


@pytest.fixture
def machine() -> Iterator[FakeNvml]:
    with nvml(FakeNvml(FREE, BUSY, OTHER)) as library:
        yield library


def answered(*words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main([*words, "--json"]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_what_others_use_of_a_gpu_is_seen(machine: FakeNvml, capsys: pytest.CaptureFixture[str]) -> None:
    free, busy = (answered(*FIT, number, capsys=capsys) for number in "01")
    assert (free["answer"], busy["answer"]) == ("yes", "yes with settings")
    verdicts = [answer["verdict"] for answer in (free, busy)]
    available = [verdict["available_bytes"] for verdict in verdicts]  # type: ignore[index]
    assert available == [24 * GIB - GIB // 4 - GIB // 2, 24 * GIB - 18 * GIB - GIB // 2]
    assert all(verdict["host_available_bytes"] > 0 for verdict in verdicts)  # type: ignore[index]


def test_several_gpus_each_have_what_is_free_on_the_fullest(
    machine: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    both = answered(*FIT, "0,1", capsys=capsys)
    assert both["hardware"]["name"] == "2 x NVIDIA GeForce RTX 3090"  # type: ignore[index]
    assert both["hardware"]["memory_free_bytes"] == 2 * (24 - 18 - 0.5) * GIB  # type: ignore[index]


def test_the_text_says_that_it_is_free_now_and_by_whom(machine: FakeNvml, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "1"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "5.50 GiB free now" in text
    assert "6 of 24 GiB free now by the driver; 0.5 GiB of it are set aside for the engine's own context" in text


def test_a_gpu_of_the_catalogue_has_the_speed_of_the_reference(
    machine: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    here = answered("predict", "--gpus", "0", capsys=capsys)
    named = answered("predict", "--hardware", "RTX 3090", capsys=capsys)
    assert here["speed"] == named["speed"]
    assert here["speed"]["time_per_token_s"]["basis"] == "reference"  # type: ignore[index]


def test_a_gpu_that_the_catalogue_does_not_have_fits_by_its_memory_and_has_no_speed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with nvml(FakeNvml(FakeGpu())):
        assert answered(*FIT, "0", capsys=capsys)["answer"] == "yes"
        predicted = answered("predict", "--gpus", "all", capsys=capsys)
        assert predicted["speed"]["time_per_token_s"]["value"] is None  # type: ignore[index]
        stated = answered("predict", "--gpus", "all", "--bandwidth", "4.8TB/s", capsys=capsys)
        assert stated["speed"]["time_per_token_s"]["basis"] == "theory"  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "gib", "part"),
    [
        ("NVIDIA GeForce RTX 3060", 12, "NVIDIA GeForce RTX 3060 12GB"),
        ("NVIDIA GeForce RTX 3060", 8, "NVIDIA GeForce RTX 3060 8GB"),
        ("NVIDIA GeForce RTX 4060 Ti", 15.99, "NVIDIA GeForce RTX 4060 Ti 16GB"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", 8, "NVIDIA GeForce RTX 3080 Laptop"),
        ("NVIDIA H100 80GB HBM3", 79.6, "NVIDIA H100 SXM 80GB"),
        ("NVIDIA A100-SXM4-40GB", 40, "NVIDIA A100 SXM 40GB"),
        ("NVIDIA A100-PCIE-40GB", 40, "NVIDIA A100 PCIe 40GB"),
        ("Tesla V100-SXM2-32GB", 32, "NVIDIA Tesla V100 SXM2 32GB"),
        ("NVIDIA A10G", 22.5, "NVIDIA A10G"),
        ("Tesla T4", 15, "NVIDIA T4"),
        ("NVIDIA GeForce RTX 3060", 6, None),
        ("NVIDIA RTX 3060 Ti Super", 12, None),
    ],
)
def test_the_drivers_name_and_memory_tell_the_part(name: str, gib: float, part: str | None) -> None:
    found = part_of_gpu(name, round(gib * GIB))
    assert (found and found.name) == part


def test_gpus_that_are_divided_are_refused() -> None:
    with pytest.raises(EstimatorError, match=r"GPU 0 is divided \(MIG\)"):
        gpus_hardware([Gpu(0, "NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB, divided=True)])


def test_the_gpu_that_is_divided_is_the_one_that_is_named() -> None:
    whole, divided = (Gpu(number, "NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB, number == 1) for number in (0, 1))
    with pytest.raises(EstimatorError, match=r"GPU 1 is divided \(MIG\)"):
        gpus_hardware([whole, divided])


def test_a_gpu_that_is_written_twice_is_counted_once(machine: FakeNvml, capsys: pytest.CaptureFixture[str]) -> None:
    # The host's memory is stated, since what is free here changes from one question to the next.
    asked = (FIT[0], "--host-memory", "64GiB", *FIT[1:])
    assert answered(*asked, "0,00, 0", capsys=capsys) == answered(*asked, "0", capsys=capsys)


def test_of_gpus_that_the_catalogue_does_not_have_the_answer_says_what_it_stands_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with nvml(FakeNvml(FakeGpu(), FakeGpu())):
        found = answered("predict", "--gpus", "all", "--bandwidth", "4.8TB/s", capsys=capsys)
    warnings = " ".join(found["warnings"])  # type: ignore[arg-type]
    assert found["hardware"]["source"] == "memory: the driver; rates: unknown; bandwidth stated"  # type: ignore[index]
    assert "layers split over 2 GPUs" in warnings
    assert "need the machine's rates: state them" in warnings
    assert "harness doctor" not in warnings, "which measures the processor"


def test_a_divided_gpu_is_known_as_such() -> None:
    with nvml(FakeNvml(FakeGpu(mig=True), FakeGpu(mig=False), FakeGpu())):
        assert [gpu.divided for gpu in gpus_here()] == [True, False, False]


def test_only_the_gpus_that_are_named_are_asked() -> None:
    lost = FakeGpu(errors={"nvmlDeviceGetMemoryInfo": pynvml.NVML_ERROR_GPU_IS_LOST})
    with nvml(FakeNvml(FREE, lost)):
        assert [gpu.number for gpu in gpus_here([0])] == [0]


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["--gpus", "3"], 3, "there is no GPU 3 here: the driver lists 0 to 2"),
        (["--gpus", "all"], 2, "GPUs 0 and 2 differ (NVIDIA GeForce RTX 3090, Tesla T4): name those that are alike"),
        (["--gpus", "first"], 2, "--gpus 'first': write all, or the driver's numbers"),
        (["--gpus", ""], 2, "--gpus '': write all"),
        (["--gpus", "0", "--hardware", "T4"], 2, "leave out --hardware"),
        (["--gpus", "0", "--instance", "g5.xlarge"], 2, "leave out --instance"),
        (["--gpus", "0", "--memory", "24GiB"], 2, "leave out --memory"),
        (["--gpus", "0", "--coefficients", "c.json"], 2, "leave out --coefficients"),
        (["--gpus", "0", "--host-memory", ""], 2, "cannot read the size ''"),
    ],
)
def test_bad_input_gives_one_line(
    words: list[str], status: int, line: str, machine: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *words]) == status
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert line in told.err


@pytest.mark.parametrize(
    ("library", "line"),
    [
        (FakeNvml(init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND), "no GPU to ask: no NVIDIA driver"),
        (FakeNvml(init=pynvml.NVML_ERROR_DRIVER_NOT_LOADED), "no GPU to ask: the NVIDIA driver is not loaded"),
        (FakeNvml(init=pynvml.NVML_ERROR_NO_PERMISSION), "no GPU to ask: no permission to ask the NVIDIA driver"),
        (FakeNvml(), "no GPU to ask: the NVIDIA driver lists no GPU"),
        (
            FakeNvml(FakeGpu(errors={"nvmlDeviceGetMemoryInfo": pynvml.NVML_ERROR_NO_PERMISSION})),
            "GPU 0 does not answer: Insufficient Permissions",
        ),
        (FakeNvml(FakeGpu(lost_after=1)), "GPU 0 does not answer: GPU is lost"),
    ],
)
def test_without_a_gpu_that_answers_a_line_says_why(
    library: FakeNvml, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with nvml(library):
        assert main([*FIT, "0"]) == 3
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
        assert line in told.err
        assert main(["hardware", "--here"]) == 0
        assert line in " ".join(capsys.readouterr().out.split())


def test_what_is_here_is_listed_with_what_is_free(machine: FakeNvml, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hardware", "--here"]) == 0
    text = capsys.readouterr().out
    assert "GPU 1: NVIDIA GeForce RTX 3090: 6.00 GiB of 24.00 GiB free now" in text
    assert "in the catalogue: NVIDIA T4" in text
    assert max(map(len, text.splitlines())) <= 80
    found = answered("hardware", "--here", capsys=capsys)
    assert [gpu["free_bytes"] for gpu in found["gpus"]] == [24 * GIB - GIB // 4, 6 * GIB, 15 * GIB]  # type: ignore[attr-defined]
    assert main(["hardware", "--here", "RTX"]) == 2
    assert "leave out the words" in capsys.readouterr().err


def test_nobody_else_asks_the_driver(machine: FakeNvml, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["predict"], ["predict", "--hardware", "RTX 3090"], ["fit"], ["hardware"], ["models"]):
        assert main(words) == 0
    assert machine.asked == []
    capsys.readouterr()
