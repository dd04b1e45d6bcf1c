"""What the harness adds to TTFT over a raw socket client, against the same simulated server, interleaved.

`python -m tests.benchmarks.overhead [ROUNDS]`. The server is a process of its own and plans each first
token at a fixed instant after the request arrived; both clients stamp sent before their first write
and the first token after the read that brought it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from harness.backends import Ask, Facts
from harness.backends.launch import child_server
from harness.backends.llamacpp import LlamaServer
from harness.simulated.law import Law
from harness.wire.raw import Wire
from harness.wire.streams import llamacpp_stream, told
from harness.wire.tap import tapped

LAW = Law(prefill_fixed_s=0.020, decode_s_per_token=0.002)
PROMPT = tuple(range(300, 364))


def raw_ttft_s(url: str) -> float:
    """TTFT of a blocking socket that does nothing else."""
    where = urlsplit(url)
    body = json.dumps({"prompt": list(PROMPT), "n_predict": 4, "stream": True, "cache_prompt": False}).encode()
    head = f"POST /completion HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = time.perf_counter_ns()
        connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        received = b""
        while b"data: " not in received:
            received += connection.recv(65536)
        first = time.perf_counter_ns()
        while connection.recv(65536):
            pass
    return (first - sent) * 1e-9


async def harness_ttft_s(server: LlamaServer) -> float:
    """TTFT as the harness measures it."""
    with tapped() as tap:
        async for _ in server.generate(Ask(PROMPT, 4, 0, 0)):
            pass
    return (told(tap, llamacpp_stream).arrivals[0].wire_ns - tap.sent_ns) * 1e-9


async def compare(rounds: int) -> tuple[list[float], list[float]]:
    """TTFT of both clients, `rounds` times each, alternating."""
    command = [sys.executable, "-m", "harness.simulated", "--law", LAW.to_json()]
    raw, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        async with child_server(command, Path(folder) / "log") as engine:
            wire = Wire(engine.url, time.perf_counter_ns)
            server = LlamaServer(wire, Facts("simulated"))
            for _ in range(rounds):
                raw.append(await asyncio.to_thread(raw_ttft_s, engine.url))
                ours.append(await harness_ttft_s(server))
            await wire.close()
    return raw, ours


def main() -> None:
    """Prints both medians and their difference."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    raw, ours = asyncio.run(compare(rounds))
    added = median(b - a for a, b in zip(raw, ours, strict=True))
    print(  # noqa: T201
        f"TTFT over {rounds} interleaved pairs: raw socket {median(raw) * 1e3:.3f} ms, "
        f"harness {median(ours) * 1e3:.3f} ms, median difference {added * 1e3:+.3f} ms"
    )


if __name__ == "__main__":
    main()
