"""Whether sampling changes what is measured: TTFT and TPOT of one real engine at 0, 10 and 50 samples a second.

`python -m tests.benchmarks.sampled [MODEL] [ROUNDS]`: the embedded engine with the weight-free Q4_K_M file of a
catalogue model, one request a turn, the rates in turn, so that all see the same machine.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from estimator.catalog import find_model
from harness.backends import Ask, Facts
from harness.backends.launch import RunningEngine, embedded_engine
from harness.backends.llamacpp import LlamaServer, engine_options
from harness.plan import Plan, Shape
from harness.sensors.process import sampling
from harness.weights.store import Store
from harness.wire.raw import Wire
from harness.wire.streams import llamacpp_stream, told
from harness.wire.tap import tapped
from tests.benchmarks.against import print_table, say

SHAPE = Shape(64, 32)
RATES = (0.0, 10.0, 50.0)
Times = dict[float, tuple[list[float], list[float]]]


async def request(server: LlamaServer, words: tuple[int, ...], draw: random.Random) -> tuple[float, float]:
    """TTFT and TPOT of one request with a prompt of its own, in seconds."""
    prompt = tuple(draw.choice(words) for _ in range(SHAPE.prompt_tokens))
    with tapped() as tap:
        async for _ in server.generate(Ask(prompt, SHAPE.output_tokens, 0, 0)):
            pass
    arrivals = told(tap, llamacpp_stream).arrivals
    first, last = arrivals[0].wire_ns, arrivals[-1].wire_ns
    return (first - tap.sent_ns) * 1e-9, (last - first) * 1e-9 / (SHAPE.output_tokens - 1)


async def measured(engine: RunningEngine, rounds: int) -> Times:
    """Times by samples a second, `rounds` each; the first round warms up."""
    found: Times = {per_s: ([], []) for per_s in RATES}
    draw, wire = random.Random(1), Wire(engine.url, time.perf_counter_ns)
    server = LlamaServer(wire, Facts("llama.cpp"))
    words = await server.vocabulary()
    for turn in range(rounds + 1):
        for per_s in draw.sample(RATES, len(RATES)):
            async with sampling(engine.pid, per_s, 0.0):
                times = await request(server, words, draw)
            for values, value in zip(found[per_s], times if turn else (), strict=False):
                values.append(value)
    await wire.close()
    return found


async def engine_times(path: Path, rounds: int) -> Times:
    """The times of an engine of its own."""
    with tempfile.TemporaryDirectory() as folder:
        options = engine_options(Plan(shapes=(SHAPE,)), str(path))
        async with embedded_engine(options, Path(folder) / "log") as engine:
            return await measured(engine, rounds)


def row(per_s: float, found: Times) -> list[str]:
    """Medians in ms, quartiles, and the median of the differences from the unsampled request of the same round."""
    cells = [f"{per_s:.0f}", str(len(found[per_s][0]))]
    for at in (0, 1):
        values, without = found[per_s][at], found[0.0][at]
        low, middle, high = quantiles(values, n=4)
        change = median(a / b - 1 for a, b in zip(values, without, strict=True))
        cells += [f"{middle * 1e3:.2f}", f"{(high - low) / middle:.1%}", f"{change:+.2%}" if per_s else "-"]
    return cells


def main() -> None:
    """Prints a row a rate."""
    model = sys.argv[1] if len(sys.argv) > 1 else "qwen2.5:0.5b"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    found = asyncio.run(engine_times(Store().build(find_model(model), "Q4_K_M"), rounds))
    say(f"{model} Q4_K_M, {SHAPE.prompt_tokens}/{SHAPE.output_tokens} tokens; change: median over rounds")
    names = ("samples/s", "n", "TTFT ms", "quartiles apart", "change", "TPOT ms", "quartiles apart", "change")
    print_table(names, [row(per_s, found) for per_s in RATES])


if __name__ == "__main__":
    main()
