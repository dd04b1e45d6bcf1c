"""Requests to models behind an API, as the fit needs them: from journals of the harness.

Back ends that speak OpenAI's protocol are fitted by the terms of an API, also where the server runs on this machine:
it says nothing of its engine. A provider is the class of the host (local, lan, a known name, else the host): no path,
no account's name, no key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from harness.metrics import NS, cached_as_meant, e2e_s, streamed_tokens, tpot_s, ttft_s
from harness.record import Record, Request, Subject

API_BACKENDS = ("openai", "http", "langchain")
_KNOWN = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure",
    "api.together.xyz": "together",
    "api.fireworks.ai": "fireworks",
    "api.groq.com": "groq",
    "openrouter.ai": "openrouter",
    "api.mistral.ai": "mistral",
    "api.deepseek.com": "deepseek",
    "api.perplexity.ai": "perplexity",
}
_LAN_ENDINGS = (".local", ".lan", ".internal", ".home.arpa")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request that ended well (times in seconds, None: not known), or one that did not (`failed`).

    `at` orders requests in time (UTC); `timed_out` ones were given up for their length.
    """

    at: datetime
    prompt_tokens: int
    output_tokens: int
    ttft_s: float | None
    time_per_token_s: float | None
    e2e_s: float | None
    failed: bool = False
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose requests: one model at one address of one provider."""

    provider: str
    model: str
    address: str


@dataclass(frozen=True, slots=True)
class ApiRequests:
    """The requests of each origin in time order, the clients that sent them, and what was left out with the reason."""

    of: dict[Origin, list[ApiRequest]]
    clients: dict[Origin, tuple[str, ...]]
    left_out: tuple[str, ...]
    journals: int


def provider_of(engine: str, remote: bool) -> str:
    """The class of the host `engine` (HOST:PORT): local, lan, a known provider, else the host's name."""
    host = (urlsplit(f"//{engine}").hostname or engine).lower()
    if not remote:
        return "local"
    try:
        address = ip_address(host)
    except ValueError:
        known = next((name for ending, name in _KNOWN.items() if host == ending or host.endswith(f".{ending}")), None)
        return known or ("lan" if "." not in host or host.endswith(_LAN_ENDINGS) else host)
    return "lan" if address.is_private else host


def api_requests(records: Iterable[Record]) -> ApiRequests:
    """Every counted single-stream request of the API back ends, pooled over runs and client libraries."""
    of: dict[Origin, list[ApiRequest]] = {}
    clients: dict[Origin, set[str]] = {}
    left_out: Counter[str] = Counter()
    journals = 0
    for record in records:
        subjects = {s.subject_id: s for s in record.subjects if s.backend in API_BACKENDS}
        journals += bool(subjects)
        for subject in subjects.values():
            origin = _origin(subject)
            clients.setdefault(origin, set()).add(subject.client.split()[0] if subject.client else subject.backend)
        for request in record.requests:
            if request.phase != "counted" or request.subject_id not in subjects:
                continue
            origin = _origin(subjects[request.subject_id])
            if why := _unusable(request):
                left_out[f"{origin.model} at {origin.provider}: {why}"] += 1
            else:
                of.setdefault(origin, []).append(_plain(record, request))
    for requests in of.values():
        requests.sort(key=lambda request: request.at)
    newest, older = _newest(of)
    reasons = [f"{count} requests of {why}" for why, count in left_out.items()]
    told = {origin: tuple(sorted(clients[origin])) for origin in newest}
    return ApiRequests(newest, told, (*reasons, *older), journals)


def _origin(subject: Subject) -> Origin:
    return Origin(
        provider_of(subject.engine, subject.remote), subject.model_name.removeprefix("openai:"), subject.engine
    )


def _newest(of: dict[Origin, list[ApiRequest]]) -> tuple[dict[Origin, list[ApiRequest]], list[str]]:
    """Of several addresses that serve one model at one provider the one that was measured last; the others in words."""
    newest: dict[tuple[str, str], Origin] = {}
    for origin in sorted(of, key=lambda origin: of[origin][-1].at):
        newest[origin.provider, origin.model] = origin
    kept = {origin: of[origin] for origin in newest.values()}
    older = [
        f"{len(of[origin])} requests of {origin.model} at another address ({origin.address}) of {origin.provider}"
        for origin in of
        if origin not in kept
    ]
    return kept, older


def _unusable(request: Request) -> str | None:
    if request.cell.is_load:
        return "under load: loads are measured but not fitted yet"
    if request.error is not None:
        return None
    if not cached_as_meant(request):
        return "the server had the prompt in its cache"
    if request.usage.hidden_tokens:
        return "the model reasoned before it answered"
    if not request.usage.prompt_tokens or streamed_tokens(request) is None:
        return "the server counted no tokens"
    return None


def _plain(record: Record, request: Request) -> ApiRequest:
    at = _instant(record, request)
    if request.error is not None:
        late = "timeout" in request.error.lower() or "timed out" in request.error.lower()
        return ApiRequest(at, request.cell.prompt_tokens, request.cell.output_tokens, None, None, None, True, late)
    prompt, output = request.usage.prompt_tokens, streamed_tokens(request)
    assert prompt is not None
    assert output is not None
    return ApiRequest(at, prompt, output, ttft_s(request), tpot_s(request), e2e_s(request))


def _instant(record: Record, request: Request) -> datetime:
    """The run's wall clock, plus the monotonic time since its first engine: the only wall clock is in the header."""
    started = datetime.fromisoformat(record.header.started_at)
    started = started if started.tzinfo else started.replace(tzinfo=UTC)
    since_s = (request.sent_ns - min(s.started_ns for s in record.subjects)) * NS
    return started.astimezone(UTC) + timedelta(seconds=max(0.0, since_s))


def ended_well(requests: Iterable[ApiRequest]) -> list[ApiRequest]:
    """Those that did not fail."""
    return [request for request in requests if not request.failed]
