"""What a run will cost: the price of each lane, said before the first request is sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from estimator.price_list import Price
from harness.backends.chat import OPENAI_URL
from harness.backends.langchain import provider_and_name
from harness.backends.local import is_local
from harness.backends.ollama_models import server_url
from harness.errors import HarnessError
from harness.opening import BACKENDS, Lane
from harness.plan import PAID_REPEATS, Plan
from harness.purse import TEMPLATE_TOKENS, Purse, plan_cost_usd, price_of
from harness.record import Record
from harness.target import Door

# What a run may cost where nobody said: enough for the default plan with the dearest of the default models.
DEFAULT_MAX_COST_USD = 2.0
_WARMUPS = 1
# No word of a prompt is longer, in bytes and so in tokens.
_LONGEST_WORD = 12

LaneKey = tuple[str, str, str]


def prices(
    groups: Sequence[tuple[Lane, ...]], plan: Plan, door: Door, accepted: bool
) -> tuple[dict[LaneKey, Price], Purse, list[str]]:
    """The price of each lane (by its key) that costs money, the purse for them, and lines to say before the run.

    A server on this machine costs nothing, unless a price is given for what may be a gateway to a
    paid one. Raises HarnessError for a remote one of unknown price that was not `accepted`.
    """
    found: dict[LaneKey, Price] = {}
    lines: list[str] = []
    unknown: list[str] = []
    for lane in (lane for group in groups for lane in group):
        url = _address(lane, door)
        if url is None or (is_local(url) and not _may_be_gateway(lane, plan)):
            continue
        price = price_of(_bare(lane), _provider(lane, url), plan.price_in, plan.price_out)
        if price is not None:
            found[lane.key] = price
            lines.append(_line(lane, price, plan))
        else:
            unknown.append(f"{lane.target.name} at {urlsplit(url).netloc}")
    if unknown and plan.max_cost_usd is not None:
        raise HarnessError(
            f"--max-cost cannot be kept: the price of {unknown[0]} is unknown; give --price-in, --price-out"
        )
    if unknown and not accepted:
        raise HarnessError(
            f"the price of {', '.join(unknown)} is unknown: give --price-in and --price-out (USD per million tokens, "
            "0 for a server of your own), or --yes to run all the same"
        )
    limit = plan.max_cost_usd if plan.max_cost_usd is not None else DEFAULT_MAX_COST_USD
    if plan.max_cost_usd is not None and not found:
        lines.append("--max-cost has nothing to count: a server on this machine costs nothing unless a price is given")
    if found:
        origin = "--max-cost" if plan.max_cost_usd is not None else "default; change it with --max-cost"
        lines.append(f"the run stops before it costs more than {limit:.2f} USD ({origin})")
    return found, Purse(limit if found else None), lines


def spent_before_usd(past: Record, found: dict[LaneKey, Price]) -> float:
    """USD that earlier sittings cost at most: a request of unknown usage counts as the dearest of its shape."""
    total = 0.0
    if found and len({s.subject_id.partition(".")[2] for s in past.subjects}) > len(past.ends):
        # A sitting was killed: as many requests may have been under way as the largest load has streams.
        streams = max((r.cell.concurrency for r in past.requests), default=1)
        dearest = [
            price.worst_usd(_LONGEST_WORD * r.cell.prompt_tokens + TEMPLATE_TOKENS, r.cell.output_tokens)
            for r in past.requests
            if (price := found.get((r.cell.backend, r.cell.model, r.cell.quant))) is not None
        ]
        total += streams * max(dearest, default=0.0)
    for request in past.requests:
        cell = request.cell
        price = found.get((cell.backend, cell.model, cell.quant))
        if request.cost_usd is not None:
            total += request.cost_usd
        elif price is not None and (request.status or 200) < 400:
            total += price.worst_usd(_LONGEST_WORD * cell.prompt_tokens + TEMPLATE_TOKENS, cell.output_tokens)
    return total


def _line(lane: Lane, price: Price, plan: Plan) -> str:
    rates = (
        f"{price.input_usd_per_mtok:g} in, {price.output_usd_per_mtok:g} out USD per million tokens ({price.source})"
    )
    each = [(shape.prompt_tokens, shape.output_tokens, 1) for shape in plan.shapes]
    repeats = plan.repeats
    if repeats is None and not any(shape.is_load for shape in plan.shapes):
        repeats = PAID_REPEATS
    if repeats is None:
        return f"{lane.target.name}: {rates}; one request of each cell costs {plan_cost_usd(price, each):.4f} USD"
    count = repeats + _WARMUPS
    whole = plan_cost_usd(price, [(prompt, output, count) for prompt, output, _ in each])
    return f"{lane.target.name}: {rates}; the plan costs about {whole:.4f} USD"


def _address(lane: Lane, door: Door) -> str | None:
    """Where the lane's requests go; None for an engine of ours."""
    given = door.base_urls.get(lane.backend)
    if provider := _langchain_provider(lane):
        # LangChain knows its servers; a URL is for OpenAI's protocol.
        return f"https://{provider}"
    if lane.backend == "ollama" or lane.target.served.startswith("ollama:"):
        return server_url(given)
    if BACKENDS[lane.backend].paid:
        return given or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
    return given


def _provider(lane: Lane, url: str) -> str | None:
    """Whose prices apply: OpenAI's only at OpenAI, since the same name costs something else elsewhere."""
    if provider := _langchain_provider(lane):
        return provider if url == f"https://{provider}" else "unknown"
    return "openai" if urlsplit(url).hostname == "api.openai.com" else "unknown"


def _langchain_provider(lane: Lane) -> str | None:
    """The provider whose own servers LangChain asks; None for OpenAI's and Ollama's protocols, whose URLs we know."""
    if lane.backend != "langchain" or ":" not in lane.target.served:
        return None
    provider = provider_and_name(lane.target.served)[0]
    return None if provider in ("openai", "ollama") else provider


def _bare(lane: Lane) -> str:
    """The model as price lists name it."""
    served = lane.target.served
    return provider_and_name(served)[1] if lane.backend == "langchain" and ":" in served else served


def _may_be_gateway(lane: Lane, plan: Plan) -> bool:
    """Whether a local server is to be paid for: a price was given, and it speaks OpenAI's protocol."""
    return plan.price_in is not None and BACKENDS[lane.backend].paid and not lane.target.served.startswith("ollama:")
