"""The scribe: whatever is handed over stands on the disk in its order, or somebody is told."""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BadResults
from harness.journal import Journal, Scribe, read_record
from tests.harness.making import header, request, subject


def test_lines_stand_in_the_order_they_came_and_all_of_them_when_the_block_ends(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal, Scribe(journal) as scribe:
        scribe.append(header())
        for number in range(500):
            scribe.append(replace(request([100]), repeat=number))
    assert [r.repeat for r in read_record(tmp_path).requests] == list(range(500))


def test_lines_that_wait_for_a_slow_disk_go_with_one_sync_and_nobody_waits_for_them(tmp_path: Path) -> None:
    synced, go_on = 0, threading.Event()

    def sync(file: int) -> None:
        nonlocal synced
        synced += 1
        assert go_on.wait(10)
        os.fsync(file)

    with Journal(tmp_path, sync=sync) as journal, Scribe(journal) as scribe:
        scribe.append(header())
        for number in range(100):
            scribe.append(replace(request([100]), repeat=number))
        go_on.set()
    assert len(read_record(tmp_path).requests) == 100
    assert synced <= 5


def test_what_was_handed_over_is_written_when_the_block_ends_with_an_error(tmp_path: Path) -> None:
    def work() -> None:
        with Journal(tmp_path) as journal, Scribe(journal) as scribe:
            scribe.append(header())
            scribe.append(request([100]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert len(read_record(tmp_path).requests) == 1


def test_a_full_disk_is_told_at_the_end_of_the_block_and_at_the_next_line(tmp_path: Path) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(tmp_path, sync=full) as journal:
        with pytest.raises(BadResults, match="the disk is full"), Scribe(journal) as scribe:
            scribe.append(header())
        with pytest.raises(BadResults, match="the disk is full"):
            scribe.append(request([100]))


def test_an_error_of_the_block_is_not_hidden_by_one_of_the_disk(tmp_path: Path) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def work() -> None:
        with Journal(tmp_path, sync=full) as journal, Scribe(journal) as scribe:
            scribe.append(header())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_a_line_that_cannot_be_written_is_told_and_nothing_hangs(tmp_path: Path) -> None:
    def work() -> None:
        with Journal(tmp_path) as journal, Scribe(journal) as scribe:
            scribe.append(header())
            # By itself, so that no other line is in its batch.
            while not journal.path.stat().st_size:
                time.sleep(0.001)
            scribe.append(replace(subject(), options={"a": object()}))

    with pytest.raises(BadResults, match="cannot add to .*journal"):
        work()
    assert not [thread for thread in threading.enumerate() if thread.name == "journal"]
    assert read_record(tmp_path).header == header()


def test_a_bug_of_the_writing_is_raised_as_itself_and_not_as_a_bad_disk(tmp_path: Path) -> None:
    def broken(_: int) -> None:
        raise ZeroDivisionError("a bug")

    with Journal(tmp_path, sync=broken) as journal, pytest.raises(ZeroDivisionError), Scribe(journal) as scribe:
        scribe.append(header())
