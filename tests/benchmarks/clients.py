"""CPU a chunk: the official client alone, and as the harness uses it, journal and all; same server, rounds in turn.

`python -m tests.benchmarks.clients [BACKENDS] [ROUNDS] [STREAMS]`, lists with commas. Alone, the client is as its
makers configure it and its chunks are looked at and thrown away.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harness.backends import Call
from harness.goal import cell_of
from harness.journal import Journal, Scribe
from harness.load import Stretch, closed_load
from harness.opening import BACKENDS
from harness.plan import Plan, Shape
from harness.prompts import Prompts
from harness.purse import Purse
from harness.sensors.process import ProcessSampler
from harness.simulated.law import Law
from harness.target import Door, served_target
from harness.visits import Instruments, Visitor
from harness.watch import Watcher
from tests.benchmarks.against import Truth, middle, planted, print_table

LAW = Law(prefill_fixed_s=0.020, decode_s_per_token=0.005)
MODEL = {"openai": "simulated", "ollama": "mistral"}
PROMPT_TOKENS, OUTPUT_TOKENS = 64, 64
# Requests a round by streams.
REQUESTS = {1: 8, 8: 32}

# Sends so many requests on so many streams; the chunks that came.
Round = Callable[[int, int], Awaitable[int]]


async def _openai_alone(url: str) -> Callable[[str], Awaitable[int]]:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    async def one(prompt: str) -> int:
        stream: Any = await client.chat.completions.create(
            model=MODEL["openai"], messages=[{"role": "user", "content": prompt}], max_tokens=OUTPUT_TOKENS,
            temperature=0, seed=1, stream=True, stream_options={"include_usage": True},
        )  # fmt: skip
        return len([event async for event in stream if event.choices and event.choices[0].delta.content])

    return one


async def _ollama_alone(url: str) -> Callable[[str], Awaitable[int]]:
    from ollama import AsyncClient

    client = AsyncClient(host=url)
    options = {"num_ctx": 256, "num_predict": OUTPUT_TOKENS, "temperature": 0, "seed": 1}

    async def one(prompt: str) -> int:
        stream = await client.generate(
            model=MODEL["ollama"], prompt=prompt, raw=True, stream=True, keep_alive="30m", options=options
        )
        return len([part async for part in stream if part.response])

    return one


ALONE = {"openai": _openai_alone, "ollama": _ollama_alone}


def alone(one: Callable[[str], Awaitable[int]], prompts: Prompts) -> Round:
    """Rounds of the client alone."""

    async def sent(streams: int, count: int) -> int:
        chunks = 0

        async def send(_stream: int, _due_ns: int | None) -> None:
            nonlocal chunks
            got = await one(" ".join(map(str, prompts.fresh(PROMPT_TOKENS, time.perf_counter_ns()))))
            chunks += got

        await closed_load(streams, Stretch(count, 0.0), send, time.perf_counter_ns)
        return chunks

    return sent


@asynccontextmanager
async def ours(truth: Truth, backend: str, folder: Path) -> AsyncIterator[Round]:
    """Rounds of the harness."""
    url = f"{truth.url}{'' if backend == 'ollama' else '/v1'}"
    plan = Plan((backend,), shapes=(Shape(PROMPT_TOKENS, OUTPUT_TOKENS),))
    target = served_target(MODEL[backend])
    call = Call(target, plan, Door(base_urls={backend: url}), folder / "log", time.perf_counter_ns, Watcher())
    chunks = 0

    def took(request: Any) -> None:
        nonlocal chunks
        chunks += len(request.chunks)

    async with BACKENDS[backend].opener(call) as engine:
        with Journal(folder) as journal, Scribe(journal) as scribe:
            tools = Instruments(
                scribe, ProcessSampler(), Watcher(), time.perf_counter_ns, time.process_time, Purse(None)
            )
            prompts = Prompts(await engine.backend.vocabulary(), plan.seed)
            visitor = Visitor(engine, await engine.backend.describe(), "0.0", prompts, (), tools, took, 0)

            async def sent(streams: int, count: int) -> int:
                nonlocal chunks
                chunks = 0
                cell = cell_of(backend, target.name, "", Shape(PROMPT_TOKENS, OUTPUT_TOKENS, concurrency=streams))
                for _ in range(1 if streams > 1 else count):
                    await visitor.visit(cell, 0, "counted", Stretch(count, 0.0))
                return chunks

            yield sent


async def compare(truth: Truth, backend: str, rounds: int, streams: int, folder: Path) -> list[str]:
    """A row: CPU microseconds a chunk of both, medians over rounds; the first round of each is not counted."""
    found: dict[str, list[float]] = {"alone": [], "ours": []}
    async with ours(truth, backend, folder) as harness:
        pool = Prompts(tuple(f"w{number}" for number in range(4000)), 1)
        sides = {"alone": alone(await ALONE[backend](truth.url), pool), "ours": harness}
        for number in range(rounds + 1):
            for name, side in sides.items():
                begun_s = time.process_time()
                chunks = await side(streams, REQUESTS.get(streams, 4 * streams))
                if number:
                    found[name].append((time.process_time() - begun_s) / chunks)
    one, other = middle(found["alone"]), middle(found["ours"])
    spread = " ".join(f"{min(values) * 1e6:.0f}..{max(values) * 1e6:.0f}" for values in found.values())
    return [
        backend,
        str(streams),
        str(rounds),
        f"{one * 1e6:.0f}",
        f"{other * 1e6:.0f}",
        f"{other / one - 1:+.1%}",
        spread,
    ]


def main() -> None:
    """Prints a row for each client and concurrency."""
    given = [*sys.argv[1:], "", "", ""]
    rows = []
    for backend in (given[0] or "openai,ollama").split(","):
        for streams in map(int, (given[2] or "1,8").split(",")):
            with tempfile.TemporaryDirectory() as scratch, planted(LAW, streams, Path(scratch)) as truth:
                rounds = int(given[1] or 10)
                rows.append(asyncio.run(compare(truth, backend, rounds, streams, Path(scratch) / "results")))
    names = ("client", "streams", "rounds", "alone CPU µs/chunk", "harness CPU µs/chunk", "more", "least..most")
    print_table(names, rows)


if __name__ == "__main__":
    main()
