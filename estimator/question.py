"""From what the command line says to the facts that `predict` takes: which hardware, and at what price."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from estimator.belonging import machine_differences, refuse
from estimator.clouds import Instance, find_instance
from estimator.coefficients import DEFAULT_PATH, Coefficients, find_coefficients
from estimator.container import memory_free_bytes
from estimator.device import catalogued_hardware, gpus_hardware
from estimator.errors import EstimatorError
from estimator.gpus import gpus_here
from estimator.hardware import Part, find_part, find_parts
from estimator.machine import identity, rate_per_s, size_bytes, this_machine
from estimator.prices import Prices
from estimator.probed import find_probed
from estimator.reference.file import shipped_reference
from estimator.reference.machine import machine_of_part
from estimator.reference.moving import Own
from estimator.reference.speed import Calibration, Published
from estimator.specs import Hardware, Host


def hardware_and_prices(options: Namespace) -> tuple[Hardware, Calibration | None, Prices]:
    """The machine that is meant, and its prices: with `--instance` its rent, unless `--usd-per-hour` states another.

    Raises EstimatorError.
    """
    hardware, fitted = hardware_meant(options)
    return hardware, fitted, _prices(options, None if options.instance is None else find_instance(options.instance))


def hardware_meant(options: Namespace) -> tuple[Hardware, Calibration | None]:
    """This machine with its coefficients, or hardware of the catalogue with the shipped reference.

    Raises EstimatorError.
    """
    bandwidth = None if options.bandwidth is None else rate_per_s(options.bandwidth, "B/s")
    compute = None if options.compute is None else rate_per_s(options.compute, "FLOP/s")
    disk = None if options.disk is None else rate_per_s(options.disk, "B/s")
    memory = None if options.memory is None else size_bytes(options.memory)
    instance = None if options.instance is None else find_instance(options.instance)
    if options.gpus is not None:
        return _gpus_here(options, (bandwidth, compute, disk))
    if options.hardware is None and instance is None:
        if memory is not None:
            raise EstimatorError("--memory goes with --hardware: the memory of this machine is read from the system")
        if stated_host(options):
            raise EstimatorError(
                "--host-memory, --host-bandwidth and --link go with a GPU: name it with --hardware, or --gpus"
            )
        if getattr(options, "measured", None) is not None:
            raise EstimatorError("--measured goes with --hardware NAME; this machine's own runs `calibration fit` fits")
        fitted = coefficients_here(options)
        return replace(this_machine(bandwidth, compute, fitted, find_probed()), disk_bytes_per_s=disk), fitted
    _check_catalogued(options)
    part, devices = find_parts(options.hardware) if instance is None else (find_part(instance.part), instance.gpus)
    if stated_host(options) and part.kind != "gpu":
        raise EstimatorError(f"--host-memory, --host-bandwidth and --link go with a GPU: {part.name} has one memory")
    hardware = catalogued_hardware(part, devices, memory, bandwidth, compute)
    if instance is not None:
        hardware = replace(hardware, name=f"{instance.provider} {instance.name}: {hardware.name}")
    link = None if options.link is None else rate_per_s(options.link, "B/s")
    host = _host(options, instance)
    hardware = replace(hardware, host=host, link_bandwidth_bytes_per_s=link, disk_bytes_per_s=disk)
    return hardware, _published(part, devices, bandwidth, compute, _own(options, part, devices))


def _own(options: Namespace, part: Part, devices: int) -> Own | None:
    """What was measured on `part`, where that was named."""
    path = getattr(options, "measured", None)
    if path is None:
        return None
    if devices > 1:
        raise EstimatorError(f"--measured goes with one device: the reference knows nothing of {devices} of them")
    if options.formulas == "textbook":
        raise EstimatorError("--measured moves the reference, which the textbook's formulas do not use: leave one out")
    from estimator.reference.measured import own_measurements

    return own_measurements(path, part, options.anyway)


def catalogued(part: Part, devices: int = 1, memory_bytes: int | None = None) -> tuple[Hardware, Published]:
    """Hardware of the catalogue with the reference that answers for it, as `predict --hardware` asks it."""
    return catalogued_hardware(part, devices, memory_bytes), _published(part, devices, None, None)


def _gpus_here(
    options: Namespace, rates: tuple[float | None, float | None, float | None]
) -> tuple[Hardware, Published | None]:
    """GPUs of this machine: what is free on them and around them now, and the reference for the part that they are."""
    for name in ("hardware", "instance", "memory", "coefficients"):
        if getattr(options, name) is not None:
            raise EstimatorError(f"--gpus are those of this machine, as the driver knows them: leave out --{name}")
    bandwidth, compute, disk = rates
    hardware, part = gpus_hardware(gpus_here(_numbers(options.gpus)), bandwidth, compute)
    host_rate = None if options.host_bandwidth is None else rate_per_s(options.host_bandwidth, "B/s")
    hardware = replace(
        hardware,
        host=Host(memory_free_bytes(), host_rate, "free here now")
        if options.host_memory is None
        else _host(options, None),
        link_bandwidth_bytes_per_s=None if options.link is None else rate_per_s(options.link, "B/s"),
        disk_bytes_per_s=disk,
    )
    if part is None:
        if getattr(options, "measured", None) is not None:
            raise EstimatorError(f"--measured moves the reference, and {hardware.name} is not in the catalogue")
        return hardware, None
    own = _own(options, part, hardware.devices)
    return hardware, _published(part, hardware.devices, bandwidth, compute, own)


def _numbers(text: str) -> list[int] | None:
    """ "0,1" -> [0, 1], each once, however it is written; all: None. Raises EstimatorError."""
    if text.strip().lower() == "all":
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 5 for word in words):
        raise EstimatorError(f"--gpus {text!r}: write all, or the driver's numbers, such as 0,1")
    return list(dict.fromkeys(map(int, words)))


def _published(
    part: Part, devices: int, bandwidth: float | None, compute: float | None, own: Own | None = None
) -> Published:
    """The reference, asked about `part` with the rates that were stated and the back end of `own`, or the usual."""
    machine = machine_of_part(part, own.back_end if own else None)
    stated = replace(
        machine,
        bandwidth_bytes_per_s=bandwidth or machine.bandwidth_bytes_per_s,
        compute_flop_per_s=compute or machine.compute_flop_per_s,
    )
    return Published(shipped_reference(), stated, devices, own)


def coefficients_here(options: Namespace) -> Coefficients | None:
    """The coefficients that are meant, None where there are none. Raises Elsewhere for those of another machine, unless
    they are wanted all the same, or asked for textbook formulas, which use none."""
    fitted = find_coefficients(options.coefficients)
    unused = getattr(options, "formulas", None) == "textbook"
    if fitted is not None and not options.anyway and not unused:
        refuse(machine_differences(fitted, *identity()), str(options.coefficients or DEFAULT_PATH))
    return fitted


def stated_host(options: Namespace) -> bool:
    """Whether anything was said about the computer around a GPU."""
    return any(value is not None for value in (options.host_memory, options.host_bandwidth, options.link))


def _host(options: Namespace, instance: Instance | None) -> Host | None:
    """The host as stated, else as the instance's row has it."""
    bandwidth = None if options.host_bandwidth is None else rate_per_s(options.host_bandwidth, "B/s")
    if options.host_memory is not None:
        here = options.host_memory.strip().lower() == "here"
        free = memory_free_bytes() if here else size_bytes(options.host_memory)
        return Host(free, bandwidth, "free here now" if here else "stated")
    if instance is not None:
        return host_of(instance, bandwidth)
    return None if bandwidth is None else Host(None, bandwidth, "stated")


def host_of(instance: Instance, bandwidth_bytes_per_s: float | None = None) -> Host:
    """The host of a rented machine: of its memory 7/8 count as free, as nobody looked."""
    return Host(instance.memory_bytes * 7 // 8, bandwidth_bytes_per_s, "7/8 of the instance's memory")


def _check_catalogued(options: Namespace) -> None:
    if options.hardware is not None and options.instance is not None:
        raise EstimatorError("--instance has hardware of its own: leave out --hardware or --instance")
    if options.instance is not None and options.memory is not None:
        raise EstimatorError("--memory goes with --hardware: an instance's GPUs have theirs")
    if options.coefficients is not None:
        raise EstimatorError(
            "coefficients belong to the machine that they were fitted on, not to the catalogue: leave out "
            "--coefficients, or --hardware and --instance"
        )


def _prices(options: Namespace, instance: Instance | None) -> Prices:
    rent, origin = options.usd_per_hour, None
    if rent is None and instance is not None and instance.usd_per_hour is None:
        origin = f"unknown: no price of {instance.provider} {instance.name} is known; state it with --usd-per-hour"
    elif rent is None and instance is not None:
        rent = instance.usd_per_hour
        origin = (
            f"{instance.provider} {instance.name} on demand in {instance.region}, {instance.price_date} "
            f"({instance.price_source})"
        )
    return Prices(rent, options.watts, options.usd_per_kwh, options.utilisation, origin)
