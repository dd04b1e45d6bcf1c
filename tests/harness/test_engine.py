"""The embedded engine for real: a tiny weight-free model, loaded and asked. Seconds each."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from harness.backends import Ask, Call
from harness.backends.launch import EngineOptions, buffers, dry_run, embedded_engine, require_free_port, server_binary
from harness.backends.llamacpp import open_llamacpp
from harness.choose import need
from harness.errors import EngineFailure
from harness.metrics import closure_s, e2e_s, known, peak
from harness.plan import Plan, Shape
from harness.record import Record
from harness.target import Door, Target, resolve
from harness.watch import Watcher
from harness.weights.build import write_model
from harness.weights.store import Store
from harness.wire.raw import Wire
from harness.wire.streams import Told, llamacpp_stream, told
from harness.wire.tap import tapped
from tests.estimator.tiny import tiny_model
from tests.harness.making import counted, ran
from tests.harness.test_weights import TINY

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_model(path, TINY, "Q4_K_M", seed=1)
    return path


def target(path: Path) -> Target:
    return resolve(str(path), "")


PLAN = Plan(
    models=("tiny",), shapes=(Shape(16, 8), Shape(64, 8, depth_tokens=64)), repeats=2, sample_per_s=50, threads=1
)


def measured(tiny: Path, folder: Path) -> Record:
    plan = replace(PLAN, models=(str(tiny),))
    return ran(folder, plan)


def test_a_run_of_the_real_engine_is_recorded_with_what_the_engine_says_of_itself(tiny: Path, tmp_path: Path) -> None:
    record = measured(tiny, tmp_path)
    (subject,) = record.subjects
    assert [len(group) for group in counted(record).values()] == [2, 2]
    assert not [r.error for r in record.requests if r.error]
    assert subject.engine_version
    assert "CPU" in subject.system_info
    assert subject.options["context_tokens"] == 512
    assert subject.memory["kv_cache_bytes"] == 8 * 2 * 2 * 64 * 2 * 512, "8 layers x K and V x 2 heads x 64 x F16 x 512"
    assert subject.memory["compute_bytes"] > 0


def test_client_and_engine_agree_on_the_duration_and_the_cache(tiny: Path, tmp_path: Path) -> None:
    record = measured(tiny, tmp_path)
    for (_, cell), group in counted(record).items():
        assert {r.usage.cached_tokens for r in group} == {cell.depth_tokens}
        for gap, total in zip(known(closure_s(r) for r in group), known(e2e_s(r) for r in group), strict=True):
            assert -0.001 < gap < max(0.02, 0.5 * total)


def test_the_sampler_sees_the_engine_and_not_us(tiny: Path, tmp_path: Path) -> None:
    record = measured(tiny, tmp_path)
    samples = [s for line in record.samples for s in line.samples]
    highest = peak(samples)
    assert highest is not None
    assert highest.file_bytes is not None
    assert highest.anonymous_bytes is not None
    assert highest.resident_bytes > tiny.stat().st_size
    assert samples[-1].cpu_s > 0
    assert all(s.resident_bytes == (s.file_bytes or 0) + (s.anonymous_bytes or 0) for s in samples)


def ask(tiny: Path, log: Path, tokens: int) -> Told:
    call = Call(target(tiny), PLAN, Door(), log, time.perf_counter_ns, Watcher())

    async def run() -> Told:
        async with open_llamacpp(call) as engine:
            pool = await engine.backend.vocabulary()
            assert len(pool) > 100
            with tapped() as tap:
                delivered = [event async for event in engine.backend.generate(Ask(pool[:16], tokens, 0, 0))]
            assert len(delivered) == tokens
            return told(tap, llamacpp_stream)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("origin", "mixture"),
    [
        ("mixtral", "Q4_K_M"),
        ("qwen3:30b", "Q4_0"),
        ("gpt-oss", "MXFP4_MOE"),
        ("llama4:maverick", "Q8_0"),
        ("deepseek-v2", "Q4_K_M"),
        ("deepseek-v3", "Q6_K"),
        ("gemma3:4b", "Q4_K_M"),
        ("falcon:40b", "Q8_0"),
        ("command-r7b", "Q4_0"),
    ],
)
def test_a_tiny_file_of_every_family_is_loaded_and_answers(origin: str, mixture: str, tmp_path: Path) -> None:
    path = tmp_path / "family.gguf"
    write_model(path, tiny_model(origin, tied=origin in ("gemma3:4b", "command-r7b")), mixture, seed=1)
    assert ask(path, tmp_path / "log", tokens=20).usage.output_tokens == 20


def test_greedy_decoding_of_random_weights_never_ends_early_and_streams_every_token(tiny: Path, tmp_path: Path) -> None:
    said = ask(tiny, tmp_path / "log", tokens=200)
    assert sum(arrival.tokens or 0 for arrival in said.arrivals) == 200
    assert len(said.arrivals) == 200, "no byte tokens: each token is printable text of its own"
    assert said.usage.output_tokens == 200


def test_a_prompt_of_n_words_is_n_tokens_of_the_built_tokenizer(tiny: Path, tmp_path: Path) -> None:
    async def count(text: str) -> int:
        async with embedded_engine(EngineOptions(str(tiny), 256), tmp_path / "log") as engine:
            wire = Wire(engine.url, time.perf_counter_ns)
            try:
                return len((await wire.post_json("/tokenize", {"content": text}))["tokens"])
            finally:
                await wire.close()

    assert asyncio.run(count("a ab z az bz c")) == 6


def test_a_file_that_is_no_model_is_a_failure_with_the_engines_own_words(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\0" * 100)

    async def start() -> None:
        async with embedded_engine(EngineOptions(str(bad), 256), tmp_path / "engine.log"):
            raise AssertionError("started")

    with pytest.raises(EngineFailure, match=r"did not start: .*engine\.log"):
        asyncio.run(start())


def test_the_dry_run_plans_the_memory_that_the_real_run_allocates(tiny: Path, tmp_path: Path) -> None:
    options = EngineOptions(str(tiny), 1024, slots=2)

    async def both() -> tuple[dict[str, int], dict[str, int]]:
        planned = await dry_run(options, tmp_path / "dry.log")
        async with embedded_engine(options, tmp_path / "real.log"):
            return planned, buffers(tmp_path / "real.log")

    planned, real = asyncio.run(both())
    for part in ("kv_cache_bytes", "compute_bytes", "output_bytes"):
        assert planned[part] == real[part], part


@pytest.mark.parametrize("name", ["mistral:7b", "qwen2.5:0.5b", "gemma2:2b", "phi3:mini"])
def test_the_engine_reads_the_header_and_vocabulary_of_each_architecture(name: str, tmp_path: Path) -> None:
    found = asyncio.run(need(resolve(name, "q4_0"), PLAN, Store(tmp_path)))
    assert found.least_bytes > 300e6


def children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def gone(processes: list[psutil.Process], within_s: float = 10) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_the_engine_and_the_sampler_end_when_their_parent_is_killed(tiny: Path, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable, "-m", "harness", "run", "--model", str(tiny), "--prompt-tokens", "16",
            "--output-tokens", "400", "--repeats", "500", "--threads", "1", "--results", str(tmp_path),
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while len(children(parent.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        brood = children(parent.pid)
        assert len(brood) == 2, "an engine and a sampler"
    finally:
        parent.kill()
        parent.wait()
    assert gone(brood)


def test_a_port_that_is_taken_is_named() -> None:
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(EngineFailure, match="is taken .*choose another"):
            require_free_port(holder.getsockname()[1])


FAKE_SERVER = """
    #!{python}
    import json, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer
    port = int(sys.argv[sys.argv.index("--port") + 1])
    print("system_info: n_threads = 1 | CPU : FAKE = 1 |", file=sys.stderr, flush=True)
    print("words on standard output that are no JSON", flush=True)
    asked = []
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            # As a llama-server does while it loads.
            loading = len(asked) < 3
            self.send_response(503 if loading else 200); self.end_headers()
            self.wfile.write(str(len(asked)).encode())
        def log_message(self, *a): pass
    HTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""


def test_a_users_server_binary_is_started_on_a_free_port_and_ended(tmp_path: Path) -> None:
    binary = tmp_path / "llama-server"
    binary.write_text(textwrap.dedent(FAKE_SERVER).lstrip().format(python=sys.executable))
    binary.chmod(0o755)

    async def start() -> psutil.Process:
        async with server_binary(str(binary), EngineOptions("model.gguf", 512), tmp_path / "log") as engine:
            assert engine.url.startswith("http://127.0.0.1:")
            process = psutil.Process(engine.pid)
            assert process.is_running()
            answered = httpx.get(f"{engine.url}/health").text
            assert int(answered) > 3, "it was waited for while it answered 503"
            return process

    assert gone([asyncio.run(start())])


def test_a_binary_that_ends_at_once_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    binary = tmp_path / "llama-server"
    binary.write_text("#!/bin/sh\necho 'error: no such device' >&2\nexit 3\n")
    binary.chmod(0o755)

    async def start() -> None:
        async with server_binary(str(binary), EngineOptions("model.gguf", 512), tmp_path / "log"):
            raise AssertionError("started")

    with pytest.raises(EngineFailure, match="no such device"):
        asyncio.run(start())
