"""The API answer and the list of known APIs as text for people, at most 80 columns. Prints nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from estimator.api.answer import QUANTILES, ApiAnswer
from estimator.api.file import ApiEntry
from estimator.render import duration, wrapped


def api_answer_text(answer: ApiAnswer) -> str:
    """The whole answer as lines of at most 80 columns."""
    called = answer.model if answer.api == answer.model else f"{answer.api} ({answer.model})"
    lines = [
        f"{called} at {answer.provider}",
        *wrapped("asked", f"{answer.prompt_tokens:,} prompt + {answer.output_tokens:,} output tokens"),
        *wrapped("by", answer.basis),
        *(line for source in answer.sources for line in (f"from  {source}",)),
        "",
        f"{'':<23}" + "".join(f"{name:>12}" for name in QUANTILES),
        _row("time to first token", answer.ttft_s),
        _row("time per output token", answer.time_per_token_s),
        _row("end to end", answer.end_to_end_s),
        "",
        *wrapped("cost", "unknown" if answer.cost_usd is None else f"${answer.cost_usd:,.3g} a request"),
        *wrapped("price", answer.price),
        *(line for sentence in _held_out(answer) for line in wrapped("", sentence)),
        *(line for day in answer.days for line in wrapped("", _day(day.day, day.requests, day.ttft_ratio))),
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


def _row(label: str, values: Mapping[str, float | None]) -> str:
    written = ("unknown" if (value := values[name]) is None else duration(value) for name in QUANTILES)
    return f"{label:<23}" + "".join(f"{text:>12}" for text in written)


def _held_out(answer: ApiAnswer) -> Iterable[str]:
    for name, error in answer.held_out.items():
        cover = "" if error.p90_coverage is None else f", {error.p90_coverage:.0%} at or under the predicted p90"
        yield (
            f"held out, {name.replace('_', ' ')}: p50 off by {error.p50_error:.1%} on the later half "
            f"({error.requests} requests){cover}"
        )


def _day(day: str, requests: int, ttft_ratio: float | None) -> str:
    said = "" if ttft_ratio is None else f", TTFT {ttft_ratio - 1:+.0%} against the fit"
    return f"{day}: {requests} requests{said}"
