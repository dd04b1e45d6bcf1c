"""From what `cost` and `cheapest` are asked on the command line to loads, APIs, machines and what they cost."""

from __future__ import annotations

from argparse import Namespace

from estimator.asked import file_asked
from estimator.clouds import Instance, find_instance, instances_about
from estimator.costs.cheapest import ApiCandidate, CheapestAnswer, cheapest
from estimator.costs.comparison import CostAnswer, Costed, compare
from estimator.costs.offers import Load, finite_price
from estimator.costs.outlay import Owning, owned, rent_stated, rented
from estimator.costs.serving import STREAMS, Machine, machine_of
from estimator.errors import EstimatorError, UnknownName
from estimator.hardware import find_part, find_parts
from estimator.limits import Limits, limits_in
from estimator.machine import rate_per_s, size_bytes, this_machine
from estimator.nearest import squeezed
from estimator.price_list import Price, listed_price
from estimator.probed import find_probed
from estimator.question import coefficients_here

_OWNING = ("hardware_usd", "lifetime_years", "usd_per_kwh", "watts", "idle_watts", "joules_per_request")


def cost_answer(options: Namespace) -> CostAnswer:
    """The answer of `cost`. Raises EstimatorError."""
    load = _load(options)
    _check_cost(options)
    apis = [(name, _price(name, options)) for name in options.api]
    machines = [_rented_instance(name, options.usd_per_hour) for name in options.instance]
    if options.hardware is not None:
        machines.append(_hardware(options))
    elif _is_this_machine(options):
        machines.append(_this_machine(options))
    return compare(load, apis, machines, file_asked(options) if machines else None, _streams(options), _limits(options))


def cheapest_answer(options: Namespace) -> CheapestAnswer:
    """The answer of `cheapest`. Raises EstimatorError."""
    load = _load(options)
    machines = [_rented_instance(instance.name, None) for instance in instances_about(options.among)]
    if not machines:
        raise UnknownName(f"no instance has the words {options.among!r}; `python -m estimator clouds` shows all")
    _check_owning(options, bool(options.own))
    machines += [_own(text, options) for text in options.own]
    apis = [_candidate(text, options) for text in options.api]
    return cheapest(load, _limits(options), file_asked(options), machines, apis, _streams(options))


def _load(options: Namespace) -> Load:
    return Load(
        prompt_tokens=options.prompt_tokens,
        output_tokens=options.output_tokens,
        cached_tokens=options.cached_tokens,
        written_tokens=options.cache_write_tokens,
        reasoning_tokens=options.reasoning_tokens,
        requests_per_day=options.per_day,
        utilisation=options.utilisation,
    )


def _limits(options: Namespace) -> Limits:
    return Limits() if options.slo is None else limits_in(options.slo)


def _streams(options: Namespace) -> tuple[int, ...]:
    if options.concurrency is None:
        return STREAMS
    if options.concurrency < 1:
        raise EstimatorError("the concurrency must be at least 1")
    return (options.concurrency,)


def _check_cost(options: Namespace) -> None:
    own = options.hardware is not None or _is_this_machine(options)
    if not (options.api or options.instance or own):
        raise EstimatorError(
            "nothing to price: name --api PROVIDER:MODEL, --instance NAME, --hardware NAME with --hardware-usd, or "
            "state --usd-per-hour or --hardware-usd for this machine"
        )
    if options.usd_per_hour is not None and len(options.instance) > 1:
        raise EstimatorError("--usd-per-hour is the rent of one machine: name one --instance")
    if options.usd_per_hour is not None and options.hardware_usd is not None:
        raise EstimatorError("a machine is rented or owned: leave out --usd-per-hour or --hardware-usd")
    if options.hardware is None and options.memory is not None:
        raise EstimatorError("--memory goes with --hardware")
    of_this = ("coefficients", "bandwidth", "compute")
    if not _is_this_machine(options) and any(getattr(options, name) is not None for name in of_this):
        raise EstimatorError(
            "--coefficients, --bandwidth and --compute belong to the machine that you are on: leave them out, or "
            "--hardware and --instance"
        )
    _check_owning(options, own and options.usd_per_hour is None)


def _check_owning(options: Namespace, owns: bool) -> None:
    given = [name for name in _OWNING if getattr(options, name, None) is not None]
    if given and not owns:
        raise EstimatorError(
            f"--{given[0].replace('_', '-')} is of hardware of your own: name it, or leave the option out"
        )


def _is_this_machine(options: Namespace) -> bool:
    stated = options.usd_per_hour is not None or options.hardware_usd is not None
    return stated and options.hardware is None and not options.instance


def _price(name: str, options: Namespace) -> Price | None:
    """As stated for the one API that was named, else as listed; None where the list has no price of that kind."""
    stated = (options.price_in, options.price_out)
    more = (options.price_cached, options.price_cache_write)
    if stated == (None, None):
        if more != (None, None):
            raise EstimatorError("--price-cached and --price-cache-write go with --price-in and --price-out")
        provider, model = _provider_and_model(name)
        try:
            return listed_price(model, provider, options.batch)
        except UnknownName as error:
            raise UnknownName(f"{error}; or state it with --price-in and --price-out (USD per million)") from None
    if options.price_in is None or options.price_out is None:
        raise EstimatorError("a price has two sides: give --price-in and --price-out, USD per million tokens")
    if len(options.api) != 1:
        raise EstimatorError("--price-in and --price-out are of one API: name one with --api")
    if options.batch:
        raise EstimatorError("--batch asks the price list: state the batch prices themselves, or leave it out")
    return finite_price(options.price_in, options.price_out, *more)


def _provider_and_model(name: str) -> tuple[str, str]:
    provider, colon, model = name.partition(":")
    if not (provider and colon and model):
        raise EstimatorError(
            f"{name!r} does not say whose prices apply: write --api PROVIDER:MODEL, such as openai:gpt-4-turbo"
        )
    return provider, model


def _rented_instance(name: str, usd_per_hour: float | None) -> Costed:
    instance = _instance(name)
    machine = machine_of(f"{instance.provider} {instance.name}", find_part(instance.part), instance.gpus)
    return Costed(machine, rented(instance, usd_per_hour))


def _instance(name: str) -> Instance:
    """By its name, or with its provider in front: "aws:g5.xlarge". Raises UnknownName."""
    provider, colon, bare = name.partition(":")
    instance = find_instance(bare if colon else name)
    if colon and squeezed(provider) != squeezed(instance.provider):
        raise UnknownName(f"{instance.name} is not of {provider!r} but of {instance.provider}")
    return instance


def _hardware(options: Namespace) -> Costed:
    part, count = find_parts(options.hardware)
    memory = None if options.memory is None else size_bytes(options.memory)
    name = part.name if count == 1 else f"{count} x {part.name}"
    machine = machine_of(name, part, count, memory)
    if options.usd_per_hour is not None:
        return Costed(machine, rent_stated(options.usd_per_hour))
    return Costed(machine, owned(_owning(options, options.hardware_usd), part, count))


def _own(text: str, options: Namespace) -> Costed:
    """ "RTX 4090=1600" -> that hardware at that price. Raises EstimatorError."""
    name, _, price = text.rpartition("=")
    try:
        usd = float(price)
    except ValueError:
        usd = -1.0
    if not name or not usd >= 0:
        raise EstimatorError(f'{text!r} is no hardware with its price: write --own "RTX 4090=1600" (USD)')
    part, count = find_parts(name)
    machine = machine_of(part.name if count == 1 else f"{count} x {part.name}", part, count)
    return Costed(machine, owned(_owning(options, usd), part, count))


def _this_machine(options: Namespace) -> Costed:
    fitted = coefficients_here(options)
    bandwidth = None if options.bandwidth is None else rate_per_s(options.bandwidth, "B/s")
    compute = None if options.compute is None else rate_per_s(options.compute, "FLOP/s")
    machine = Machine("this machine", ((this_machine(bandwidth, compute, fitted, find_probed()), 1),), fitted)
    if options.usd_per_hour is not None:
        return Costed(machine, rent_stated(options.usd_per_hour))
    return Costed(machine, owned(_owning(options, options.hardware_usd), None))


def _owning(options: Namespace, price_usd: float | None) -> Owning:
    return Owning(
        price_usd,
        options.lifetime_years,
        options.usd_per_kwh,
        getattr(options, "watts", None),
        getattr(options, "idle_watts", None),
        getattr(options, "joules_per_request", None),
    )


def _candidate(text: str, options: Namespace) -> ApiCandidate:
    """ "openai:gpt-4o", or with the latency that it is known to have: "openai:gpt-4o@ttft=600ms,tpot=20ms"."""
    name, at, latency = text.partition("@ttft=") if "@ttft=" in text else text.partition("@tpot=")
    known = limits_in(at[1:] + latency) if at else Limits()
    provider, model = _provider_and_model(name)
    return ApiCandidate(name, listed_price(model, provider), known)
