"""What this machine has and what a run would use."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from estimator.catalog import models
from estimator.container import memory_free_bytes
from estimator.errors import EstimatorError
from estimator.probed import DEFAULT_PATH, Probed, keep_probed
from harness.backends.chat import KEY, OPENAI_URL
from harness.backends.llamacpp import engine_options
from harness.backends.ollama_models import server_url
from harness.choose import default_model
from harness.errors import HarnessError
from harness.fingerprint import this_machine
from harness.first_run import first_plan
from harness.host import blas_threads, probes, this_host
from harness.overhead import overhead
from harness.plan import Plan
from harness.record import Host, Machine, Probes
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.rapl import POWERCAP, Rapl
from harness.weights.store import Store
from harness.wire.raw import Wire
from harness.wire.tap import RequestFailed

GIB = 2**30


async def examine(kept_at: Path = DEFAULT_PATH) -> dict[str, Any]:
    """Facts by name, as text with units; "host", "machine" and "probes" hold them as a run's header would.

    The rates are kept at `kept_at` for `estimator predict`.
    """
    plan, store, host = Plan(), Store(), this_host()
    options = engine_options(plan, "")
    own = await overhead(host, fresh=True)
    measured = probes(options.threads, own.seconds, own.note)
    machine = this_machine(Meters(Gpus(), Rapl()).sources)
    total, free = psutil.virtual_memory().total, memory_free_bytes()
    return {
        "cpu": f"{host.cpu}, {host.physical_cores} cores, {host.logical_cores} threads",
        "memory": f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB available",
        "system": f"{host.system}, Python {host.python}",
        "read_bandwidth": f"{(measured.read_bytes_per_s or 0) / 1e9:.1f} GB/s with {options.threads} threads",
        "matrix_product": f"{(measured.matmul_flop_per_s or 0) / 1e9:.0f} GFLOP/s with "
        f"{_blas_words(options.threads)} (F32, BLAS)",
        "kept": kept_line(host, measured, options.threads, kept_at),
        **_machine_lines(machine),
        **_probe_lines(measured),
        "load": f"{measured.load_average:.2f}" if measured.load_average is not None else "unknown",
        "steal_since_boot": "unknown" if measured.steal_share is None else f"{measured.steal_share:.1%}",
        "gpus": gpu_line(),
        "cpu_energy": cpu_energy_line(),
        "embedded_engine": _engine(),
        "ollama": await ollama_line(),
        "openai": openai_line(os.environ),
        "llama-server_on_path": shutil.which("llama-server") or "none",
        "model_files": _files_line(store),
        "a_run_would_measure": await _would_measure(plan, measured, free, store),
        "with": f"{options.threads} threads",
        "host": asdict(host),
        "machine": asdict(machine),
        "probes": asdict(measured),
    }


def kept_line(host: Host, measured: Probes, threads: int, path: Path) -> str:
    """Where the rates are kept for the estimator, with the best of earlier ones; why they are not.

    Rates that were probed beside other work are no bound of what the machine can do.
    """
    if measured.disturbed:
        taken = f"{measured.others_share or 0:.0%} of the CPUs"
        return f"not kept for `estimator predict`: other work took {taken} meanwhile; again when it is quiet"
    found = Probed(
        host.cpu, host.physical_cores, threads, measured.read_bytes_per_s, measured.matmul_flop_per_s,
        datetime.now(UTC).date().isoformat(),
    )  # fmt: skip
    try:
        best = keep_probed(found, path)
    except EstimatorError as error:
        return f"not kept: {error}"
    except OSError as error:
        return f"not kept: cannot write {path}: {error.strerror or error}"
    rates = f"{(best.read_bytes_per_s or 0) / 1e9:.1f} GB/s, {(best.matmul_flop_per_s or 0) / 1e9:.0f} GFLOP/s"
    return f"{rates} (the best seen) in {path}, for `python -m estimator predict`"


def _files_line(store: Store) -> str:
    try:
        return f"{len(store.files())} in {store.folder}"
    except HarnessError as error:
        return f"unknown: {error}"


async def _would_measure(plan: Plan, measured: Probes, free_bytes: int, store: Store) -> str:
    """What a run without options measures, and why."""
    try:
        found, why = first_plan(measured, free_bytes, store)
        if found is not None:
            return why
        model, smaller = await default_model(plan, store, free_bytes)
    except HarnessError as error:
        return f"nothing: {error}"
    return f"{model.name} {plan.quants[0]} ({'; '.join(filter(None, (why, smaller)))})"


def _blas_words(threads: int) -> str:
    told = blas_threads(threads)
    return "as many threads as BLAS takes by itself" if told is None else f"{told} threads"


def _machine_lines(machine: Machine) -> dict[str, str]:
    unknown = "unknown: the system does not tell"
    sockets = unknown if machine.sockets is None else f"{machine.sockets}"
    nodes = unknown if machine.numa_nodes is None else f"{machine.numa_nodes}"
    limit = "" if machine.max_hz is None else f", up to {machine.max_hz / 1e9:.2f} GHz"
    return {
        "cpu_flags": " ".join(machine.flags) or unknown,
        "sockets": sockets,
        "numa_nodes": nodes,
        "frequency_governor": (machine.governor or unknown) + limit,
        "virtualisation": machine.virtualisation or unknown,
    }


def _probe_lines(measured: Probes) -> dict[str, str]:
    own, step, heat = measured.client_overhead_s, measured.timer_resolution_s, measured.temperature_c
    return {
        "timer_resolution": "unknown" if step is None else f"{step * 1e9:.0f} ns",
        "own_overhead": measured.note if own is None else f"{own * 1e3:.2f} ms of TTFT (instant server on loopback)",
        "temperature": "unknown: no sensor that may be read" if heat is None else f"{heat:.0f} °C",
    }


def gpu_line() -> str:
    """Each GPU with memory, driver and what its power reading is; why there is none."""
    found = Gpus()
    told = [
        f"{gpu.device}: {gpu.name}, {_gib(gpu.memory_bytes)}, driver {gpu.driver}, power {gpu.power or 'unknown'}, "
        f"energy counter {'yes' if gpu.energy_counter else 'no'}" + (", MIG" if gpu.mig else "")
        for gpu in found.facts
    ]
    return "; ".join([*told, *found.faults()]) or f"none: {found.note}"


def _gib(size: int | None) -> str:
    return "memory unknown" if size is None else f"{size / GIB:.1f} GiB"


def cpu_energy_line(root: Path = POWERCAP) -> str:
    """Whether the CPU's energy counters can be read, and what to do."""
    rapl = Rapl(root)
    return f"RAPL: {', '.join(rapl.zones)}" if rapl.zones else f"not measured: {rapl.note}"


def _engine() -> str:
    try:
        return f"xllamacpp {importlib.metadata.version('xllamacpp')}"
    except importlib.metadata.PackageNotFoundError:
        return "not installed: pip install 'llm-yardstick[embedded]'"


async def ollama_line(given: str | None = None) -> str:
    """The Ollama server that a run would use, or that is given, with its models; why there is none."""
    try:
        url = server_url(given)
    except HarnessError as error:
        return f"none: {error}"
    wire = Wire(url, time.perf_counter_ns, timeout_s=2.0)
    try:
        told, tags = await wire.get_json("/api/version"), await wire.get_json("/api/tags")
    except RequestFailed:
        return f"no Ollama server answers at {url}"
    finally:
        await wire.close()
    listed = tags.get("models") or [] if isinstance(tags, dict) else None
    if not isinstance(told, dict) or not isinstance(listed, list):
        return f"what answers at {url} is no Ollama server"
    names = [str(entry.get("name")) for entry in listed if isinstance(entry, dict)]
    return f"{told.get('version', 'unknown')} at {url}, " + (f"models: {', '.join(names)}" if names else "no models")


def openai_line(environment: Mapping[str, str]) -> str:
    """The endpoint that a run would use, and whether there is a key for it; never the key."""
    key = "is set" if environment.get(KEY) else "is not set"
    return f"{_without_password(environment.get('OPENAI_BASE_URL') or OPENAI_URL)}, {KEY} {key}"


def _without_password(url: str) -> str:
    """An address, which may be none, without what stands before the host and behind the path."""
    scheme, slashes, rest = url.partition("?")[0].rpartition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{place.rpartition('@')[2]}{slash}{path}"


def catalogue_rows() -> list[dict[str, Any]]:
    """The catalogue: name, parameters, size by weight type in bytes, files built."""
    store = Store()
    built = [path.name for path in store.files()]
    return [
        {
            "name": model.name,
            "title": model.title,
            "parameters": model.parameters,
            "q4_k_m_bytes": store.size_bytes(model, "Q4_K_M"),
            "f16_bytes": store.size_bytes(model, "F16"),
            "built": [name for name in built if name.startswith(f"{model.name.replace(':', '-')}-")],
        }
        for model in models()
    ]
