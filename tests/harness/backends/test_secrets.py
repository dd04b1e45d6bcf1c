"""No secret is ever written: whatever a server says, keys and prompts stay out of files and off the screen."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.secrets import scrubbed, secrets_of
from tests.harness.backends.scripted import STREAM, Got, delta, event, plain, scripted

pytestmark = pytest.mark.slow

KEY = "sk-planted-0123456789-abcdefghij"
PROMPT = ("apple", "bridge", "cloud", "dog", "eagle")


def test_keys_are_found_by_the_names_of_variables_and_short_ones_are_no_keys() -> None:
    found = secrets_of({"OPENAI_API_KEY": KEY, "HF_TOKEN": "hf_123456", "MY_KEY": "1", "HOME": "/home/somebody"})
    assert found == (KEY, "hf_123456")


def test_a_key_is_removed_wherever_it_stands() -> None:
    assert scrubbed(f"bad key {KEY}: {KEY}!", (KEY,), ()) == "bad key [secret]: [secret]!"


@pytest.mark.parametrize("length", range(6, len(KEY)))
def test_a_key_that_is_cut_off_with_the_line_is_removed_too(length: int) -> None:
    assert KEY[:6] not in scrubbed(f"no access with {KEY[:length]}", (KEY,), ())


@pytest.mark.parametrize("text", ["Authorization: Bearer abc.def-1", '{"a": "bearer abc.def-1"}', "Bearer: abc.def-1"])
def test_credentials_of_a_header_are_removed_whoever_they_belong_to(text: str) -> None:
    clean = scrubbed(text, (), ())
    assert "abc" not in clean
    assert "bearer" not in clean.lower()


def test_a_text_that_repeats_the_prompt_is_cut_before_it() -> None:
    clean = scrubbed("HTTP 400: cannot do bridge cloud dog", (), PROMPT)
    assert clean.startswith("HTTP 400: ")
    assert "bridge" not in clean
    assert scrubbed("HTTP 400: bridge and cloud", (), PROMPT) == "HTTP 400: bridge and cloud"


def told_all(got: Got) -> str:
    return f"Header {got.headers.get('authorization')} was sent with {got.prompt} and so on"


async def ran(folder: Path, url: str, backends: str) -> bytes:
    """What was written by a run against an OpenAI endpoint."""
    return await written_by(folder, {}, "--backend", backends, "--base-url", f"{url}/v1", "--model", "gpt-x",
                            "--prompt-tokens", "24", "--output-tokens", "4")  # fmt: skip


async def written_by(folder: Path, more: dict[str, str], *options: str) -> bytes:
    """Everything that a run through the command line wrote, to files and to its streams."""
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "", **more}
    command = ("run", *options, "--repeats", "1", "--results", str(folder))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "harness", *command, env=environment, cwd=folder.parent,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 100)
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return b"\n".join([out, err, *files])


def require_clean(written: bytes, prompts: list[str]) -> None:
    text = written.decode("utf-8", "replace")
    assert KEY not in text
    assert KEY[:10] not in text
    assert "Bearer" not in text
    for prompt in prompts:
        words = prompt.split()
        assert not [at for at in range(len(words) - 2) if " ".join(words[at : at + 3]) in text]


@pytest.mark.slow
def test_neither_the_key_nor_the_prompt_is_written_when_the_server_repeats_both(tmp_path: Path) -> None:
    got_all: list[Got] = []

    async def answer(got: Got) -> AsyncIterator[bytes]:
        got_all.append(got)
        if len(got_all) % 3 == 0:
            yield plain(400, {"error": {"message": told_all(got), "type": "x", "code": got.headers["authorization"]}})
        elif len(got_all) % 3 == 1:
            yield plain(500, told_all(got))
        else:
            yield STREAM + delta(" one") + event({"error": {"message": told_all(got)}, "choices": []})

    async def run() -> bytes:
        async with scripted(answer, models=["gpt-x"]) as url:
            return await ran(tmp_path / "out", url, "openai,http,langchain")

    written = asyncio.run(run())
    assert len(got_all) >= 9
    assert {got.headers["authorization"] for got in got_all} == {f"Bearer {KEY}"}
    assert b"not stored" in written, "the errors are there, without what they repeat"
    require_clean(written, [got.prompt for got in got_all])


@pytest.mark.slow
def test_a_server_that_repeats_the_key_when_it_refuses_it_is_named_without_it(tmp_path: Path) -> None:
    async def answer(got: Got) -> AsyncIterator[bytes]:
        yield plain(401, {"error": {"message": f"no access with {got.headers['authorization']}"}})

    async def run() -> bytes:
        async with scripted(answer, models=()) as url:
            return await ran(tmp_path / "out", url, "openai,http")

    written = asyncio.run(run())
    assert written.count(b"no access with [secret]") >= 2
    assert b"401" in written
    require_clean(written, [])


@pytest.mark.parametrize("backend", ["ollama", "langchain"])
def test_a_password_in_the_address_of_an_ollama_server_is_not_written(backend: str, tmp_path: Path) -> None:
    there = {"OLLAMA_HOST": f"http://me:{KEY}@127.0.0.1:9"}
    model = {"ollama": "x", "langchain": "ollama:x"}[backend]
    written = asyncio.run(written_by(tmp_path / "out", there, "--backend", backend, "--model", model))
    assert b"must not hold a password" in written
    require_clean(written, [])
