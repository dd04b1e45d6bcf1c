"""How many scenarios a second a sweep computes, axes and grid apart: `python -m tests.benchmarks.sweeping`.

One process, one core, its CPU time; the median of five turns for each shape of grid.
"""

from __future__ import annotations

import statistics
import time

from estimator.options import parser
from estimator.sweep.axes import axes_of
from estimator.sweep.grid import computed
from tests.benchmarks.against import print_table

TURNS = 5
QUANTS = ["--quant", "q4_0,q4_k_m,q5_k_m,q6_k,q8_0,f16"]
PROMPTS = ["--prompt-tokens", "512,1024,2048,4096,8192,16384,32768"]
BATCHES = ["--concurrency", "1,2,4,8,16", "--kv-type", "all"]
TEN = "RTX 4090,RTX 3090,A100 80GB,H100 SXM,L4,M3 Max,T4,V100,M1,RTX 3060"
FEW = ["--prompt-tokens", "512,2048", "--kv-type", "all", "--concurrency"]
HUNDRED = ",".join(str(100 * depth) for depth in range(100))
WORKS = [*PROMPTS, *BATCHES]
SHAPES = {
    "83 models x 6 types x 7 prompts x 5 batches x 3 KV types x all hardware": [*WORKS, "--hardware", "all"],
    "the same x all instances": [*WORKS, "--instance", "all"],
    "the same x 10 machines": [*WORKS, "--hardware", TEN],
    "the same x 1 machine": [*WORKS, "--hardware", "T4"],
    "the same x 1 machine of 2 GPUs": [*WORKS, "--hardware", "2x RTX 3090"],
    "the same x 1 processor": [*WORKS, "--hardware", "EPYC 7763"],
    "83 models x 6 types x 18 works x 1 machine": [*FEW, "1,4,8", "--hardware", "T4"],
    "83 models x 6 types x 12 works x 2 machines": [*FEW, "1,8", "--hardware", "T4,L4"],
    "83 models x 6 types x 12 works x 1 machine": [*FEW, "1,8", "--hardware", "T4"],
    "83 models x 6 types x 1 work x 1 machine": ["--hardware", "T4"],
    "1 model x 6 types x 105 works x all hardware": [*WORKS, "--model", "mistral:7b", "--hardware", "all"],
    "1 model x 6 types x 10,500 works x 1 machine": [
        *WORKS, "--model", "llama3.1:8b", "--hardware", "T4", "--depth", HUNDRED,
    ],
}  # fmt: skip


def main() -> None:
    """Prints a row a shape."""
    rows = []
    for name, words in SHAPES.items():
        options = parser().parse_args(["sweep", "--model", "all", *QUANTS, *words])
        axes_s, grid_s, count = [], [], 0
        for _ in range(TURNS):
            began = time.process_time()
            axes = axes_of(options)
            named = time.process_time()
            count = sum(map(len, computed(axes)))
            axes_s.append(named - began)
            grid_s.append(time.process_time() - named)
        axes_median, grid_median = statistics.median(axes_s), statistics.median(grid_s)
        rows.append(
            (name, f"{count:,}", f"{axes_median:.2f}", f"{grid_median:.3f}", f"{count / grid_median / 1e6:.2f}")
        )
    print_table(("grid", "scenarios", "axes s", "grid s", "million/s"), rows)


if __name__ == "__main__":
    main()
