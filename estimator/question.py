"""From what the command line says to the facts that `predict` takes: which hardware, and at what price."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from estimator.clouds import Instance, find_instance
from estimator.coefficients import Coefficients, find_coefficients
from estimator.device import catalogued_hardware
from estimator.errors import EstimatorError
from estimator.hardware import Part, find_part, find_parts
from estimator.machine import rate_per_s, size_bytes, this_machine
from estimator.prices import Prices
from estimator.reference.file import shipped_reference
from estimator.reference.machine import machine_of_part
from estimator.reference.speed import Published
from estimator.specs import Hardware


def hardware_and_prices(options: Namespace) -> tuple[Hardware, Coefficients | Published | None, Prices]:
    """This machine with its coefficients, or hardware of the catalogue with the shipped reference.

    With `--instance` the rent is the instance's, unless `--usd-per-hour` states another. Raises EstimatorError.
    """
    bandwidth = None if options.bandwidth is None else rate_per_s(options.bandwidth, "B/s")
    compute = None if options.compute is None else rate_per_s(options.compute, "FLOP/s")
    memory = None if options.memory is None else size_bytes(options.memory)
    instance = None if options.instance is None else find_instance(options.instance)
    prices = _prices(options, instance)
    if options.hardware is None and instance is None:
        if memory is not None:
            raise EstimatorError("--memory goes with --hardware: the memory of this machine is read from the system")
        fitted = find_coefficients(options.coefficients)
        return this_machine(bandwidth, compute, fitted), fitted, prices
    _check_catalogued(options)
    part, devices = find_parts(options.hardware) if instance is None else (find_part(instance.part), instance.gpus)
    hardware = catalogued_hardware(part, devices, memory, bandwidth, compute)
    if instance is not None:
        hardware = replace(hardware, name=f"{instance.provider} {instance.name}: {hardware.name}")
    return hardware, _published(part, hardware, bandwidth, compute), prices


def _published(part: Part, hardware: Hardware, bandwidth: float | None, compute: float | None) -> Published:
    """The reference, asked about `part` with the rates that were stated."""
    machine = machine_of_part(part)
    stated = replace(
        machine,
        bandwidth_bytes_per_s=bandwidth or machine.bandwidth_bytes_per_s,
        compute_flop_per_s=compute or machine.compute_flop_per_s,
    )
    return Published(shipped_reference(), stated, hardware.devices)


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
