"""The sampling process on a machine with a GPU of ours of 100 W: `python -m tests.harness.fake_sampler PID HZ`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from harness.backends.guard import end_with_parent
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.process import print_samples
from harness.sensors.rapl import Rapl
from harness.sensors.system import Machine
from tests.harness.fake_nvml import FakeGpu, FakeNvml, nvml

if __name__ == "__main__":
    end_with_parent()
    process = int(sys.argv[1])
    with nvml(FakeNvml(FakeGpu(processes={process: 2**30}), clock_s=time.perf_counter)):
        print_samples(process, float(sys.argv[2]), Meters(Gpus(), Rapl(Path("nowhere"))), Machine())
