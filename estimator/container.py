"""Memory that is free now: the machine's, or what a limit of this process's control groups leaves (Linux)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_NAMES = (
    ("memory.max", "memory.current", ("inactive_file", "active_file")),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
)


def memory_free_bytes() -> int:
    """Memory that is free now, or can be freed without swapping: the system's, or less if a container has a limit."""
    import psutil  # here, because most commands need not pay for it

    available = int(psutil.virtual_memory().available)
    limited = container_free_bytes()
    return available if limited is None else min(available, limited)


def container_free_bytes(
    mounted: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int | None:
    """The least that any group above this process leaves: limit - used + file pages, which can be dropped.

    None where no group has a limit that can be read. Source: the kernel's cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    left = [free for folder in _folders(mounted, membership) for free in _left(folder)]
    return min(left, default=None)


def _folders(mounted: Path, membership: Path) -> Iterator[Path]:
    """The folders of the process's groups, of either version, with those above them."""
    yield from (mounted, mounted / "memory")
    try:
        lines = membership.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "?", "")
        if controllers not in ("", "memory"):
            continue
        folder = mounted / controllers if controllers else mounted
        for part in Path(path).parts[1:]:
            folder = folder / part
            yield folder


def _left(folder: Path) -> Iterator[int]:
    for limit_name, used_name, reclaimable in _NAMES:
        try:
            limit, used = int((folder / limit_name).read_text("ascii")), int((folder / used_name).read_text("ascii"))
            stat = dict(line.split()[:2] for line in (folder / "memory.stat").read_text("ascii").splitlines())
        except (OSError, ValueError):
            continue  # no such file, or "max": no limit
        yield max(0, limit - used + sum(int(stat.get(name, 0)) for name in reclaimable))
