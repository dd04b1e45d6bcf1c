"""The memory that a container's limit leaves, from folders as the kernel shows them."""

from pathlib import Path

import pytest

from estimator.container import container_free_bytes


def group(folder: Path, limit: str, used: int = 0, file_pages: int = 0, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    prefix = "" if version == 2 else "total_"
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{prefix}inactive_file {file_pages}\n{prefix}active_file 1\n")


def free(folder: Path, membership: str = "0::/\n") -> int | None:
    (folder / "membership").write_text(membership)
    return container_free_bytes(folder / "mounted", folder / "membership")


def test_a_limit_less_what_is_used_with_pages_of_files_given_back(tmp_path: Path) -> None:
    group(tmp_path / "mounted", "1000", 300, 50)
    assert free(tmp_path) == 1000 - 300 + 50 + 1


def test_the_narrowest_of_the_groups_above_counts(tmp_path: Path) -> None:
    group(tmp_path / "mounted" / "a", "500", 100)
    group(tmp_path / "mounted" / "a" / "b", "max", 50)
    assert free(tmp_path, "0::/a/b\n") == 401


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    group(tmp_path / "mounted" / "memory" / "docker", "4096", 96, 0, version=1)
    assert free(tmp_path, "7:cpu:/docker\n5:memory:/docker\n") == 4001


@pytest.mark.parametrize("limit", ["max", "nonsense"])
def test_no_limit_is_none(tmp_path: Path, limit: str) -> None:
    group(tmp_path / "mounted", limit)
    assert free(tmp_path) is None


def test_a_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert container_free_bytes(tmp_path / "none", tmp_path / "nothing") is None


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    group(tmp_path / "mounted", "10", 300)
    assert free(tmp_path) == 0
