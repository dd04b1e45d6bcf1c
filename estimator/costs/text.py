"""Bills, break-even points and rankings as text of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby

from estimator.amounts import count, rounded, usd
from estimator.costs.break_even import BreakEven
from estimator.costs.cheapest import CheapestAnswer
from estimator.costs.comparison import CostAnswer
from estimator.costs.offers import Load, Offer
from estimator.costs.serving import Serving
from estimator.limits import Limits
from estimator.render import duration

WIDTH = 80
_NAME = 30
_SHOWN = 10
_LEGEND = "1M tokens: prompt and answer together. A month has 730 h. Busy: share of the machines' time."
_BOUND = "≥: at least, by theory, the fastest that the hardware allows with as many requests at once as were tried."
_MEETS = (
    "by the interval (yes) or the value (likely) of the reference, one request at a time on each copy; in theory, "
    "the fastest that the hardware allows; as stated"
)
_ABOUT = "~: by theory with layers split; other engines could do more."


def cost_text(answer: CostAnswer) -> str:
    """Bills, how each machine serves, what each price is, break-even points, then what all this takes for granted."""
    lines = [] if answer.title is None else [f"{answer.title}, {answer.quant}, on the machines"]
    lines += [*_asked(answer.load), "", _head("")]
    lines += [line for offer in answer.offers for line in _row(offer, answer.load)]
    lines += ["", *_legend(answer.offers)]
    lines += [line for offer in answer.offers for line in _told(offer)]
    if answer.break_even:
        lines += ["", "break-even, prompt and answer tokens a day"]
        lines += [line for point in answer.break_even for line in _break_even(point)]
    return "\n".join((*lines, *_warnings(answer.warnings)))


def cheapest_text(answer: CheapestAnswer, all_rows: bool = False) -> str:
    """The ranking, how the first is served, and what ruled out the others."""
    shown = answer.ranked if all_rows else answer.ranked[:_SHOWN]
    lines = [f"{answer.title}, {answer.quant}", *_asked(answer.load), *_limits(answer.limits), ""]
    if not shown:
        lines += ["nothing that was looked at keeps the limits", ""]
    else:
        lines += [_head("meets"), *(line for entry in shown for line in _row(entry.offer, answer.load, entry.meets))]
        if len(shown) < len(answer.ranked):
            lines.append(f"and {len(answer.ranked) - len(shown)} dearer ones: --all")
        lines += ["", *_legend(entry.offer for entry in shown), *_told(shown[0].offer)]
        lines += _wrapped("meets", _MEETS)
    lines += [*_excluded(answer), *_wrapped("not ranked", _unpriced(answer))]
    return "\n".join((*lines, *_warnings(answer.warnings)))


def _asked(load: Load) -> list[str]:
    request = f"{load.prompt_tokens:,} prompt + {load.output_tokens:,} answer tokens"
    parts = ((load.cached_tokens, "cached"), (load.written_tokens, "cache-write"), (load.reasoning_tokens, "reasoning"))
    request += "".join(f", {tokens:,} {word}" for tokens, word in parts if tokens)
    if load.requests_per_day is None:
        request += "; no load stated: prices are those of machines in full use (--per-day)"
    else:
        tokens = load.requests_per_day * load.tokens
        request += f", {load.requests_per_day:,.10g} requests a day = {count(tokens)} tokens a day"
    return _wrapped("asked", request)


def _limits(limits: Limits) -> list[str]:
    said = [f"{word} up to {duration(at)}" for word, at in (("TTFT", limits.ttft_s), ("TPOT", limits.tpot_s)) if at]
    return _wrapped("limits", ", ".join(said) if said else "none on latency: state --slo ttft=500ms,tpot=50ms")


def _head(last: str) -> str:
    head = f"{'':<{_NAME}} {'a request':>11} {'1M tokens':>9} {'a month':>11}"
    return f"{head} {'n':>3} {'busy':>4} {last}".rstrip()


def _row(offer: Offer, load: Load, last: str = "") -> Iterator[str]:
    name = offer.name if offer.kind != "owned" else f"own {offer.name}"
    amounts = (offer.request_usd, offer.million_tokens_usd, offer.month_usd)
    request, million, month = (usd(amount.value, offer.mark) for amount in amounts)
    machines = "-" if offer.machines is None else f"{offer.machines:,}"
    busy = "-" if offer.busy_share is None else _percent(offer.busy_share)
    figures = f"{request:>11} {million:>9} {month:>11} {machines:>3} {busy:>4} {last}".rstrip()
    if len(name) > _NAME or _NAME + 1 + len(figures) > WIDTH:
        yield name
        name = ""
    room = 0 if _NAME + 1 + len(figures) > WIDTH else _NAME + 1
    yield f"{name:<{room}}{figures}"
    low, high = (usd(end) for end in (offer.month_usd.low, offer.month_usd.high))
    if low != high:
        yield f"      {low} .. {high} a month (90 % interval of the speed)"
    if offer.alone is not None and offer.alone.request_usd.value is not None:
        yield from _wrapped("", _alone(offer.alone, load))


def _alone(offer: Offer, load: Load) -> str:
    """The price with one request at a time, which serving several at once need not exceed."""
    price, what = offer.request_usd, "a request"
    if load.requests_per_day is not None:
        price, what = offer.month_usd, f"a month, n {offer.machines or 0:,}"
    low, high = usd(price.low), usd(price.high)
    interval = "" if low == high else f" ({low} .. {high})"
    return f"one at a time (reference): {usd(price.value)}{interval} {what}"


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.01 else f"{share:.0%}"


def _legend(offers: Iterable[Offer]) -> list[str]:
    marks = {offer.mark for offer in offers}
    marked = f"{_BOUND if '≥' in marks else ''} {_ABOUT if '~' in marks else ''}"
    return textwrap.wrap(f"n: machines. {_LEGEND} {marked}", WIDTH)


def _told(offer: Offer) -> Iterator[str]:
    """What the price is from and how the machine serves, or what is in the way."""
    yield offer.name
    yield from _wrapped("", "; ".join(offer.prices))
    if offer.serving is not None:
        yield from _wrapped("", _served(offer.serving))
    if offer.alone is not None and offer.alone.serving is not None:
        yield from _wrapped("", f"one at a time: {_served(offer.alone.serving)}")
    if offer.obstacle is not None and offer.obstacle.obstacle != "price unknown":
        yield from _wrapped("", f"{offer.obstacle.obstacle}: {offer.obstacle.reason}")
    known = {name: part.value for name, part in offer.month_parts_usd.items() if part.value}
    if len(known) > 1:
        parts = ", ".join(f"{name.replace('_', ' ')} {usd(value)}" for name, value in known.items())
        yield from _wrapped("", f"a month: {parts}")


def _served(serving: Serving) -> str:
    on = "" if serving.devices == 1 else f" over {serving.devices} GPUs each"
    copies = "" if serving.copies == 1 else f"{serving.copies} copies of the model{on}, "
    copies = copies or (f"layers{on}, " if on else "")
    rate = 1 / (serving.machine_s.value or 1.0)
    ttft, step = (duration(time.value or 0.0) for time in (serving.ttft_s, serving.time_per_token_s))
    fits = "fits" if serving.fits == "yes" else f"fit unknown ({serving.reason})"
    return (
        f"{fits}; {copies}{serving.concurrency} at once: {rate:.3g} requests/s, TTFT {ttft}, "
        f"{step} a token ({serving.basis})"
    )


def _break_even(point: BreakEven) -> list[str]:
    mark = f"{point.machine} and {point.api}:"
    if point.verdict == "unknown":
        return _wrapped("", f"{mark} unknown, {point.reason}")
    if point.verdict == "never":
        return _wrapped("", f"{mark} never; {point.reason}")
    if point.verdict == "always":
        return _wrapped("", f"{mark} the machine is always cheaper; {point.reason}")
    words = f"{mark} the machine is cheaper from {count(point.tokens_per_day or 0.0, 'up')} on"
    words += f" ({count(point.requests_per_day or 0.0, 'up')} requests); {point.reason}"
    words += f" at {rounded(100 * (point.throughput_needed or 0.0), 'up', 2):f} % of its throughput"
    words += " by theory" if point.basis == "theory" else ""
    later = point.always_from_tokens_per_day
    if later is None:
        words += "; every load that needs one more machine is dearer again at first"
    elif later > (point.tokens_per_day or 0.0):
        words += f"; from {count(later, 'up')} on also where one more machine is needed"
    return _wrapped("", words)


def _excluded(answer: CheapestAnswer) -> Iterator[str]:
    if answer.excluded:
        yield ""
    for obstacle, entries in groupby(answer.excluded, key=lambda entry: entry.obstacle):
        group = list(entries)
        yield f"{obstacle} ({len(group)})"
        for reason, same in groupby(sorted(group, key=lambda entry: (entry.reason, entry.name)), lambda e: e.reason):
            yield from _wrapped("", f"{', '.join(entry.name for entry in same)}: {reason}")


def _unpriced(answer: CheapestAnswer) -> str:
    owned = any(entry.offer.kind == "owned" for entry in answer.ranked)
    if owned:
        return "other hardware of your own, since the catalogue has no prices of it"
    return 'hardware of your own, since the catalogue has no prices of it: --own "RTX 4090=1600" --usd-per-kwh 0.30'


def _warnings(warnings: Iterable[str]) -> list[str]:
    return [line for warning in warnings for line in _wrapped("!", warning)]


def _wrapped(mark: str, text: str) -> list[str]:
    first = f"{mark:<6}" if len(mark) < 6 else f"{mark} "
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * 6, break_on_hyphens=False)
