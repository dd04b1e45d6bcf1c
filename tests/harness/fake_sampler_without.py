"""The sampling process on a machine without power sensors: `python -m tests.harness.fake_sampler_without PID HZ`."""

from __future__ import annotations

import sys
from pathlib import Path

import pynvml

from harness.backends.guard import end_with_parent
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.process import print_samples
from harness.sensors.rapl import Rapl
from harness.sensors.system import Machine
from tests.harness.fake_nvml import FakeNvml, nvml

if __name__ == "__main__":
    end_with_parent()
    with nvml(FakeNvml(init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)):
        print_samples(int(sys.argv[1]), float(sys.argv[2]), Meters(Gpus(), Rapl(Path("nowhere"))), Machine())
