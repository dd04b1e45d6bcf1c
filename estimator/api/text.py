"""The API answer and the list of known APIs as text for people, at most 80 columns. Prints nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from estimator.api.answer import QUANTILES, ApiAnswer, Interval
from estimator.api.file import ApiDay, ApiEntry, ApiHeldOut
from estimator.render import duration, wrapped

_WORDS = {"ttft": "TTFT", "time_per_token": "time per token", "end_to_end": "end to end"}


def api_answer_text(answer: ApiAnswer) -> str:
    """The whole answer as lines of at most 80 columns."""
    called = answer.model if answer.api == answer.model else f"{answer.api} ({answer.model})"
    lines = [
        f"{called} at {answer.provider}",
        *wrapped("asked", f"{answer.prompt_tokens:,} prompt + {answer.output_tokens:,} output tokens"),
        *wrapped("by", answer.basis),
        *(line for source in answer.sources for line in (f"from  {source}",)),
        "",
        f"{'':<22}" + "".join(f"{name:>19}" for name in QUANTILES),
        *_rows("time to first token", answer.ttft_s, answer.ttft_interval_s),
        *_rows("time per output token", answer.time_per_token_s, answer.time_per_token_interval_s),
        *_rows("end to end", answer.end_to_end_s, answer.end_to_end_interval_s),
        "",
        *wrapped("cost", "unknown" if answer.cost_usd is None else f"${answer.cost_usd:,.3g} a request"),
        *wrapped("price", answer.price),
        *_held_out(answer.held_out),
        *(line for day in answer.days for line in wrapped("", _day(day))),
    ]
    lines += [line for warning in answer.warnings for line in wrapped("!", warning)]
    return "\n".join(lines)


def api_list_text(entries: Iterable[ApiEntry]) -> str:
    """Every known model at every provider: one line each."""
    header = f"{'name':<30} {'provider':<12} {'requests':>8} {'last day':>10} basis"
    rows = (
        f"{(entry.names or (entry.model,))[0]:<30} {entry.provider:<12} {entry.requests:>8} {entry.last_day:>10} "
        f"{entry.basis}"
        for entry in entries
    )
    return "\n".join((header, *rows))


def _rows(label: str, values: Mapping[str, float | None], ends: Mapping[str, Interval]) -> Iterable[str]:
    """A row of quantiles, and one of their intervals where one is known."""
    written = ("unknown" if (value := values[name]) is None else duration(value) for name in QUANTILES)
    yield f"{label:<22}" + "".join(f"{text:>19}" for text in written)
    if any(ends.values()):
        yield f"{'  90 % interval':<22}" + "".join(f"{_between(ends[name]):>19}" for name in QUANTILES).rstrip()


def _between(ends: Interval) -> str:
    """Both ends, the unit once where it is the same."""
    if ends is None:
        return "-"
    low, high = (duration(value) for value in ends)
    return f"{low.split()[0] if low.split()[1] == high.split()[1] else low} .. {high}"


def _held_out(errors: Mapping[str, ApiHeldOut]) -> Iterable[str]:
    """What a fit to the earlier half said of the later half, one line a quantity."""
    for mark, (name, error) in zip(("held", "", ""), errors.items(), strict=False):
        cover = "unknown" if error.p90_coverage is None else f"{error.p90_coverage:.0%}"
        yield (
            f"{mark:<6}{_WORDS[name]}: p50 off by {error.p50_error:.1%}, {cover} at or under p90 "
            f"(later {error.requests} requests)"
        )


def _day(day: ApiDay) -> str:
    parts = (("TTFT", day.ttft_ratio), ("time per token", day.time_per_token_ratio))
    said = "".join(f", {word} {ratio - 1:+.0%} against the fit" for word, ratio in parts if ratio is not None)
    return f"{day.day}: {day.requests} requests{said or ', too few to compare'}"
