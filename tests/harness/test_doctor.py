"""What `harness doctor` says of servers that are odd, and of the probes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from harness.doctor import kept_line, ollama_line, openai_line
from harness.host import blas_threads, matmul_rate, probes, this_host
from harness.record import Probes
from harness.wire.raw import Wire
from harness.wire.tap import RequestFailed


async def line_of(body: bytes) -> str:
    """What is said of a server that answers everything so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return (await ollama_line(f"127.0.0.1:{port}")).replace(str(port), "PORT")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[1]", "what answers at http://127.0.0.1:PORT is no Ollama server"),
        (b'"text"', "what answers at http://127.0.0.1:PORT is no Ollama server"),
        (b'{"models": {"name": 1}}', "what answers at http://127.0.0.1:PORT is no Ollama server"),
        (b"<html>", "no Ollama server answers at http://127.0.0.1:PORT"),
        (b"{}", "unknown at http://127.0.0.1:PORT, no models"),
        (b'{"version": "1", "models": [{"name": "a"}, 2]}', "1 at http://127.0.0.1:PORT, models: a"),
    ],
)
def test_whatever_answers_in_place_of_ollama_is_a_line(body: bytes, said: str) -> None:
    assert asyncio.run(line_of(body)) == said


@pytest.mark.parametrize("host", ["host:abc", "[::1", "ho\x01st"])
def test_an_address_that_is_none_is_a_line(host: str) -> None:
    assert asyncio.run(ollama_line(host)).startswith("none: ")


def test_a_server_of_plain_ipv6_that_is_not_there_is_a_line() -> None:
    assert asyncio.run(ollama_line("http://[::1]:9")) == "no Ollama server answers at http://[::1]:9"


@pytest.mark.parametrize("url", ["https://me:hunter2@127.0.0.1:9/v1?key=hunter2", "me:hunter2@127.0.0.1:9"])
def test_a_password_in_an_address_is_not_printed(url: str) -> None:
    told = [asyncio.run(ollama_line(url)), openai_line({"OPENAI_BASE_URL": url})]
    assert [line for line in told if "hunter2" in line or "127.0.0.1:9" not in line] == []


def test_a_request_to_what_is_no_url_fails_with_words() -> None:
    async def ask() -> None:
        wire = Wire("http://host:abc", lambda: 0)
        try:
            await wire.get_json("/x")
        finally:
            await wire.close()

    with pytest.raises(RequestFailed, match="http://host:abc/x is no URL"):
        asyncio.run(ask())


def test_the_matrix_product_is_measured_with_as_many_threads_as_the_engine_has() -> None:
    told: list[int] = []

    def product(_: object) -> None:
        told.extend(entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas")

    before = {entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"}
    if not before:
        pytest.skip("this BLAS takes no number of threads")
    for threads in (1, 2):
        told.clear()
        assert matmul_rate(threads, product) > 0
        assert set(told) == {threads}
        assert blas_threads(threads) == threads
    assert {entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"} == before


@pytest.mark.parametrize(("broken", "said"), [("folder", "not kept: cannot"), ("file", "not kept: ")])
def test_rates_that_cannot_be_kept_are_said_and_nothing_is_lost(tmp_path: Path, broken: str, said: str) -> None:
    path = tmp_path / "machine.json"
    if broken == "folder":
        path = tmp_path / "no folder" / "machine.json"
        path.parent.write_text("a file in its place")
    else:
        path.write_text("{")
    line = kept_line(this_host(), Probes(30e9, 250e9, None, None, None, others_share=0.0), 2, path)
    assert line.startswith(said), line
    assert "\n" not in line
    assert broken == "folder" or path.read_text() == "{"


def test_rates_that_were_probed_beside_other_work_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    quiet = Probes(30e9, 250e9, None, None, None, others_share=0.05)
    assert kept_line(this_host(), quiet, 2, path).startswith("30.0 GB/s, 250 GFLOP/s (the best seen) in ")
    before = path.read_text()
    line = kept_line(this_host(), replace(quiet, read_bytes_per_s=31e9, others_share=0.2), 2, path)
    assert line.startswith("not kept for `estimator predict`: other work took 20% of the CPUs")
    assert path.read_text() == before


def test_what_other_processes_take_during_the_probes_is_seen() -> None:
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        found = probes(2)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert found.disturbed
