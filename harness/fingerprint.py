"""What kind of machine this is beyond its name: what makes two machines of one CPU differ. Unknown is None."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from harness.record import Machine
from harness.samples import PowerSources

ROOT = Path("/")
# Instructions that kernels of engines are chosen by; the rest says nothing of speed.
_FLAGS = (
    "sse4_2", "ssse3", "f16c", "fma", "avx", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512vbmi",
    "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip
_MAKERS = ("sys_vendor", "product_name")
_STEPS = 200


def this_machine(sources: PowerSources, root: Path = ROOT, linux: bool = sys.platform == "linux") -> Machine:
    """This machine with the power sensors that were found."""
    if not linux:
        return Machine(gpus=sources.gpus, gpu_note=sources.gpu_note, max_hz=_psutil_max_hz())
    cpuinfo = _text(root / "proc/cpuinfo")
    flags = _flags(cpuinfo)
    cores = root / "sys/devices/system/cpu"
    governors = {text for path in cores.glob("cpu[0-9]*/cpufreq/scaling_governor") if (text := _text(path))}
    limits = [int(t) * 1e3 for path in cores.glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq") if (t := _text(path)).isdigit()]
    packages = {t for path in cores.glob("cpu[0-9]*/topology/physical_package_id") if (t := _text(path))}
    return Machine(
        flags=tuple(flag for flag in _FLAGS if flag in flags),
        sockets=len(packages) or None,
        numa_nodes=len(list((root / "sys/devices/system/node").glob("node[0-9]*"))) or None,
        governor=", ".join(sorted(governors)) or None,
        max_hz=max(limits, default=None),
        virtualisation=_virtualisation(root, flags),
        gpus=sources.gpus,
        gpu_note=sources.gpu_note,
    )


def _text(path: Path) -> str:
    """A file's text, "" where there is none or it may not be read."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _flags(cpuinfo: str) -> set[str]:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        # "flags" on x86, "Features" on ARM.
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def _virtualisation(root: Path, flags: set[str]) -> str | None:
    """Who virtualises this machine, "none", or None where nothing tells."""
    if kind := _text(root / "sys/hypervisor/type"):
        return kind
    if "hypervisor" not in flags:
        return "none" if flags & {"sse4_2", "avx"} else None
    maker = " ".join(text for name in _MAKERS if (text := _text(root / "sys/class/dmi/id" / name)))
    return maker or "a hypervisor that does not say its name"


def _psutil_max_hz() -> float | None:
    told = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return told.max * 1e6 if told is not None and told.max else None


def timer_resolution_s(clock_ns: Callable[[], int] = time.perf_counter_ns) -> float:
    """The smallest step that the clock of all instants was seen to make, in seconds."""
    least = float("inf")
    for _ in range(_STEPS):
        begin = end = clock_ns()
        while end == begin:
            end = clock_ns()
        least = min(least, end - begin)
    return least * 1e-9


def temperature_c() -> float | None:
    """The hottest sensor that the system shows now; None where it shows none."""
    read = getattr(psutil, "sensors_temperatures", None)
    try:
        groups = read() if read is not None else {}
    except (OSError, psutil.Error):
        return None
    return max((entry.current for entries in groups.values() for entry in entries if entry.current), default=None)
