"""What the process sampler costs: share of a core at 1, 10 and 50 Hz, watching a process of 100 MB.

With the sensors of this machine, then with a simulated GPU below NVML's binding (the binding's cost, not the driver's).

`python -m tests.benchmarks.sampler [SECONDS]`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

from harness.sensors.process import sampling

WATCHED = "import time; data = bytearray(100_000_000); time.sleep(3600)"


PROGRAMS = {"this machine": "harness.sensors.process", "simulated GPU": "tests.harness.fake_sampler"}


async def share(pid: int, per_s: float, seconds: float, program: str) -> tuple[float, int]:
    """CPU seconds of the sampler per second, and the samples taken."""
    async with sampling(pid, per_s, 0.0, program) as sampler:
        await asyncio.sleep(seconds)
        taken = sampler.take("benchmark")
    wall_s = (taken.samples[-1].at_ns - taken.samples[0].at_ns) * 1e-9
    return taken.sampler_cpu_s / wall_s, len(taken.samples)


def main() -> None:
    """Prints the share at each rate."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    watched = subprocess.Popen([sys.executable, "-c", WATCHED])
    try:
        for name, program in PROGRAMS.items():
            for per_s in (1.0, 10.0, 50.0):
                cost, samples = asyncio.run(share(watched.pid, per_s, seconds, program))
                told = f"{cost:.2%} of a core, {samples} samples in {seconds:.0f} s"
                print(f"{name}, {per_s:4.0f} Hz: {told}")  # noqa: T201
    finally:
        watched.kill()
        watched.wait()


if __name__ == "__main__":
    main()
