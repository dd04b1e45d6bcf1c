"""Energy against planted joules: a GPU of known power, sampled by the real sensor under a clock of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pynvml
import pytest
from rich.console import Console

from harness.doctor import cpu_energy_line, gpu_line
from harness.energy import Meter, not_measured, stretches
from harness.record import Record, Request, Sample, Samples
from harness.render import show_run
from harness.samples import PowerSources
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.rapl import Rapl
from harness.summary import as_json, rows
from tests.harness.fake_nvml import FakeGpu, FakeNvml, nvml
from tests.harness.making import MS, header, request, subject
from tests.harness.test_rapl import zone

IDLE_W, PREFILL_W, DECODE_W = 61.3, 640.0, 411.0
# A request begins at 6.033 s, prefills for 1.2 s and decodes until 18.733 s.
BEGIN_S, DECODE_S, END_S = 6.033, 7.233, 18.733
PLANTED_J = (DECODE_S - BEGIN_S) * PREFILL_W + (END_S - DECODE_S) * DECODE_W
PID = 7


def watts(at_s: float) -> float:
    """Power at an instant: idle, prefill, decode, idle."""
    return IDLE_W if not BEGIN_S <= at_s < END_S else PREFILL_W if at_s < DECODE_S else DECODE_W


def joules(at_s: float) -> float:
    """The integral of `watts` from 0."""
    prefill_s = min(max(at_s - BEGIN_S, 0.0), DECODE_S - BEGIN_S)
    decode_s = min(max(at_s - DECODE_S, 0.0), END_S - DECODE_S)
    return 1e6 + IDLE_W * (at_s - prefill_s - decode_s) + PREFILL_W * prefill_s + DECODE_W * decode_s


def averaged(at_s: float) -> float:
    """The mean power of the second before."""
    return joules(at_s) - joules(at_s - 1.0)


def gpu(power: Callable[[float], float] = watts, *, counter: bool = True, instant: bool = True) -> FakeGpu:
    """A GPU that holds memory of the sampled process."""
    errors = {} if counter else {"nvmlDeviceGetTotalEnergyConsumption": pynvml.NVML_ERROR_NOT_SUPPORTED}
    return FakeGpu(watts=power, joules=joules, instant=instant, errors=errors, processes={PID: 2**30})


def record(
    *gpus: FakeGpu, requests: tuple[Request, ...] = (), until_s: float = 20.0, rapl: Path | None = None
) -> Record:
    """What the real sensors of these GPUs say at 10 Hz, from 0 on, the idle window from 2 to 5 s."""
    now_s = 0.0
    with nvml(FakeNvml(*gpus, clock_s=lambda: now_s)):
        meters = Meters(Gpus(), Rapl(rapl or Path("nowhere")))
        samples = []
        for tick in range(int(until_s * 10)):
            now_s = tick / 10
            meters.read()
            samples.append(meters.added(Sample(tick * 100 * MS, 2**30, None, None, None, 0.0), {PID}))
            if rapl is not None:
                (rapl / "intel-rapl:0" / "energy_uj").write_text(str(round(joules((tick + 1) / 10) * 1e6) % 10**9))
        sources = replace(meters.sources, idle_ns=(2000 * MS, 5000 * MS))
    return Record(
        header(), (subject(),), requests, (Samples("0.0", tuple(samples), 0.01, sources),)
    )  # fmt: skip


def asked(begin_s: float = BEGIN_S, end_s: float = END_S) -> Request:
    """A request of 9 output tokens between two instants."""
    made = request([begin_s * 1e3 + 1, end_s * 1e3], [1, 8])
    return replace(made, scheduled_ns=round(begin_s * 1e9), sent_ns=round(begin_s * 1e9))


def test_energy_by_counter_is_within_one_percent_of_the_planted_joules_and_idle_stands_beside() -> None:
    (energy,) = Meter(record(gpu()), set()).of([asked()]).known
    assert energy.method == "NVML energy counter"
    assert energy.joules_per_request == pytest.approx(PLANTED_J, rel=0.01)
    assert energy.joules_per_output_token == pytest.approx(PLANTED_J / 9, rel=0.01)
    assert energy.idle_w == pytest.approx(IDLE_W, rel=0.01)
    assert energy.idle_joules_per_request == pytest.approx(IDLE_W * (END_S - BEGIN_S), rel=0.01)


def test_energy_by_integral_of_instant_power_is_within_one_percent_of_the_planted_joules() -> None:
    (energy,) = Meter(record(gpu(counter=False)), set()).of([asked()]).known
    assert energy.method == "integral of NVML instant power"
    assert energy.joules_per_request == pytest.approx(PLANTED_J, rel=0.01)
    assert energy.idle_w == pytest.approx(IDLE_W, rel=0.01)


def test_averaged_power_is_told_of_ten_seconds_within_its_lag_and_named() -> None:
    (energy,) = Meter(record(gpu(averaged, counter=False, instant=False)), set()).of([asked()]).known
    assert energy.method == "integral of NVML one-second average power"
    assert energy.joules_per_request == pytest.approx(PLANTED_J, rel=0.06)


def test_averaged_power_of_a_short_request_is_refused_with_the_reason() -> None:
    energy = Meter(record(gpu(averaged, counter=False, instant=False)), set()).of([asked(7.0, 7.3)])
    assert energy.known == ()
    assert energy.refused == (
        "GPU 0, integral of NVML one-second average power: 0.3 s is too short for a one-second average of power, "
        "10 s are needed; ask for more --output-tokens",
    )


@pytest.mark.parametrize("counter", [True, False])
def test_a_request_that_holds_few_readings_is_refused(counter: bool) -> None:
    energy = Meter(record(gpu(counter=counter)), set()).of([asked(7.0, 7.3)])
    assert energy.known == ()
    assert "0.3 s hold 4 readings, 20 are needed" in energy.refused[0]


def test_the_last_request_is_told_although_no_sample_came_after_its_end() -> None:
    (energy,) = Meter(record(gpu(), until_s=END_S), set()).of([asked()]).known
    assert energy.joules_per_request == pytest.approx(PLANTED_J, rel=0.01)


def test_a_gpu_that_is_lost_leaves_no_energy_and_the_fault_is_the_reason() -> None:
    lost = gpu()
    lost.lost_after = 250
    energy = Meter(record(lost), set()).of([asked()])
    assert energy.known == ()
    assert "GPU is lost" in energy.refused[0]


def test_a_counter_that_was_reset_is_refused() -> None:
    reset = gpu()
    reset.joules = lambda at_s: joules(at_s) - (5e5 if at_s > 10 else 0)
    assert "went backwards" in Meter(record(reset), set()).of([asked()]).refused[0]


def test_several_gpus_of_one_engine_are_summed_and_idle_ones_of_others_left_out() -> None:
    other = gpu()
    other.processes = {99: 2**30}
    (energy,) = Meter(record(gpu(), other, gpu()), set()).of([asked()]).known
    assert energy.source == "GPU 0, 2"
    assert energy.joules_per_request == pytest.approx(2 * PLANTED_J, rel=0.01)


def test_where_no_gpu_lists_the_process_all_are_taken_and_it_is_said() -> None:
    silent = gpu()
    silent.processes = {}
    (energy,) = Meter(record(silent), set()).of([asked()]).known
    assert "none lists the engine's processes" in energy.note
    assert Meter(record(silent), {"0.0"}).of([asked()]).known == (), "an engine on the CPU has no GPU energy"


def test_energy_of_the_cpu_counts_through_the_counters_new_beginning(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", round(joules(0.0) * 1e6) % 10**9, range_uj=10**9)
    measured = record(rapl=tmp_path)
    (energy,) = Meter(measured, {"0.0"}).of([asked()]).known
    assert (energy.source, energy.method) == ("CPU (package-0)", "RAPL counter")
    assert energy.joules_per_request == pytest.approx(PLANTED_J, rel=0.01)


def test_subjects_that_share_a_sampler_share_its_readings_and_its_idle_baseline() -> None:
    (line,) = record(gpu()).samples
    half = len(line.samples) // 2
    lines = (replace(line, samples=line.samples[:half]), replace(line, subject_id="1.0", samples=line.samples[half:]))
    shared = Meter(replace(record(gpu()), samples=lines), set())
    (energy,) = shared.of([replace(asked(), subject_id="1.0")]).known
    assert energy.joules_per_request == pytest.approx(PLANTED_J, rel=0.01)
    assert energy.idle_w == pytest.approx(IDLE_W, rel=0.01)


def test_requests_that_overlap_share_their_energy() -> None:
    middle = (BEGIN_S + END_S) / 2
    load = [asked(BEGIN_S, middle + 1), asked(middle, END_S)]
    assert [len(stretch) for stretch in stretches([*load, asked(19.0, 19.5)], {})] == [2, 1]
    (energy,) = Meter(record(gpu()), set()).of(load).known
    assert energy.requests == 2
    assert energy.joules_per_request == pytest.approx(PLANTED_J / 2, rel=0.01)


def test_a_load_with_a_failed_request_has_no_energy_and_the_reason_is_said() -> None:
    middle, meter = (BEGIN_S + END_S) / 2, Meter(record(gpu(counter=False)), set())
    refused = replace(asked(middle, END_S), error="too many requests", status=429)
    energy = meter.of([asked(BEGIN_S, middle + 1), refused])
    assert energy.known == ()
    assert energy.refused == (
        "GPU 0, integral of NVML instant power: 1 of 1 stretches hold failed requests; see `harness show --errors`",
    )
    both = meter.of([asked(BEGIN_S, middle), refused])
    assert [entry.requests for entry in both.known] == [1]
    assert both.refused == ()


def test_a_summary_holds_energy_and_what_is_not_measured() -> None:
    measured = record(gpu(), requests=(asked(),))
    (row,) = rows(measured)
    assert row.energy.known
    told = as_json(measured)
    assert told["cells"][0]["energy"]["known"][0]["joules_per_output_token"] == pytest.approx(PLANTED_J / 9, rel=0.01)
    assert told["engines"][0]["peak_gpu_bytes"] == 2**30
    assert told["not_measured"].startswith("CPU power not measured: no RAPL counters in nowhere")


def test_show_tells_energy_with_its_method_and_idle_and_what_is_not_measured_in_80_columns() -> None:
    out = StringIO()
    show_run(Console(file=out, width=80), record(gpu(), requests=(asked(),)))
    said = " ".join(out.getvalue().split())
    assert "J/output token" in said
    assert "(GPU 0: NVML energy counter; n 1; idling at 61.3 W takes 778.5 J of it)" in said
    assert "CPU power not measured: no RAPL counters in nowhere" in said
    assert "1.00 GiB on GPUs" in said
    assert max(len(line) for line in out.getvalue().splitlines()) <= 80


def test_show_says_once_what_went_wrong_with_a_sensor() -> None:
    out, lost = StringIO(), gpu()
    lost.lost_after = 250
    show_run(Console(file=out, width=80), record(lost, requests=(asked(),)))
    said = " ".join(out.getvalue().split())
    assert said.count("sensor: GPU 0: GPU is lost") == 1
    assert "no energy for" in said


def test_doctor_names_gpus_with_driver_and_memory_and_says_why_there_is_no_power(tmp_path: Path) -> None:
    with nvml(FakeNvml(gpu())):
        assert gpu_line() == "0: Fake H200, 141.0 GiB, driver 580.65.06, power instant, energy counter yes"
    with nvml(FakeNvml(init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)):
        assert gpu_line() == "none: no NVIDIA driver (libnvidia-ml was not found)"
    assert cpu_energy_line(tmp_path).startswith("not measured: no RAPL counters")
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    assert cpu_energy_line(tmp_path) == "RAPL: package-0"


def test_a_record_without_power_says_why() -> None:
    sampled = Samples("0.0", (), 0.0, PowerSources(gpu_note="no NVIDIA driver", cpu_note="no RAPL counters"))
    said = not_measured(Record(header(), (subject(),), (), (sampled,)))
    assert said == "GPU power not measured: no NVIDIA driver; CPU power not measured: no RAPL counters"
    old = Record(
        header(), (subject(),), (), (replace(sampled, sources=None, samples=(Sample(5, 100, 60, 40, None, 0.5),)),)
    )
    assert not_measured(old) == "power not measured: this run was made before it was recorded"
    remote = Record(header(), (replace(subject(), remote=True),))
    assert not_measured(remote) == "power not measured: the server is on another machine"
