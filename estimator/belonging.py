"""Whether coefficients are of the machine and engine build that a question is about: what differs, in words. Pure."""

from __future__ import annotations

from estimator.coefficients import Coefficients
from estimator.errors import EstimatorError

_GIB = 2**30


class Elsewhere(EstimatorError):
    """Coefficients of another machine or engine build than what they are asked about."""

    exit_status = 10


def machine_differences(
    coefficients: Coefficients, cpu: str, physical_cores: int, memory_total_bytes: int
) -> list[str]:
    """CPU, its cores, or memory by more than a GiB (what the system keeps to itself varies)."""
    fitted = coefficients.machine
    found = []
    if fitted.cpu != cpu:
        found.append(f"CPU {fitted.cpu}, not {cpu}")
    if fitted.physical_cores != physical_cores:
        found.append(f"{fitted.physical_cores} cores, not {physical_cores}")
    if abs(fitted.memory_total_bytes - memory_total_bytes) > _GIB:
        found.append(f"{fitted.memory_total_bytes / _GIB:.0f} GiB, not {memory_total_bytes / _GIB:.0f} GiB")
    return found


def engine_differences(
    coefficients: Coefficients, name: str, version: str, system_info: str, threads: int
) -> list[str]:
    """Engine, version, CPU features it was built for, threads."""
    fitted = coefficients.engine
    found = []
    if (fitted.name, fitted.version) != (name, version):
        found.append(f"{fitted.name} {fitted.version}, not {name} {version}")
    if fitted.system_info != system_info:
        ours, theirs = (set(text.replace("|", ":").split(" : ")) for text in (fitted.system_info, system_info))
        told = ", ".join(sorted((ours ^ theirs) - {""})[:3])
        found.append(f"another build of it ({told.strip()})" if told.strip() else "another build of it")
    if fitted.threads and fitted.threads != threads:
        found.append(f"{fitted.threads} threads, not {threads}")
    return found


def refuse(differences: list[str], what: str) -> None:
    """Raises Elsewhere where something differs."""
    if differences:
        raise Elsewhere(
            f"{what} belongs elsewhere: {'; '.join(differences)}; fit here with `python -m calibration fit`, name "
            "another file with --coefficients, or use it all the same with --anyway"
        )
