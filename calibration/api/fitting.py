"""From requests to the API coefficient file: one entry a model and provider."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from calibration.api.held_out import days, held_out
from calibration.api.laws import NEEDED, fit_laws
from calibration.api.requests import API_BACKENDS, ApiRequest, Origin, api_requests, ended_well
from estimator.api.file import ApiCoefficients, ApiEntry, ApiRange, ApiRecords
from harness.record import Record


@dataclass(frozen=True, slots=True)
class ApiFit:
    """A fit of API records; `coefficients` is None where no model has requests enough."""

    coefficients: ApiCoefficients | None
    left_out: tuple[str, ...]


def fit_api(records: Sequence[Record]) -> ApiFit | None:
    """The fit of every model behind an API in `records`; None where they hold none."""
    listed = [r for r in records if any(subject.backend in API_BACKENDS for subject in r.subjects)]
    if not listed:
        return None
    found = api_requests(listed)
    entries, left_out = [], list(found.left_out)
    for origin, requests in found.of.items():
        about = {"client": ", ".join(found.clients[origin]), "notes": ()}
        entry = entry_of(origin, requests, "measured", about)
        if entry is None:
            count = len(ended_well(requests))
            left_out.append(
                f"{origin.model} at {origin.provider}: {count} of {len(requests)} requests ended well, "
                f"{NEEDED['p50']} are needed: measure more with --repeats"
            )
        else:
            entries.append(entry)
    if not entries:
        return ApiFit(None, tuple(left_out))
    ordered = sorted(listed, key=lambda record: record.header.started_at)
    digest = hashlib.sha256("".join(Path(r.path).read_text("utf-8") for r in ordered).encode()).hexdigest()
    sums = ApiRecords(found.journals, sum(entry.requests for entry in entries), f"sha256:{digest}")
    fitted_at = datetime.now(UTC).isoformat(timespec="seconds")
    return ApiFit(ApiCoefficients(fitted_at, sums, libraries(), tuple(entries)), tuple(left_out))


def libraries() -> dict[str, str]:
    """The versions of what fits."""
    return {name: version(name) for name in ("numpy", "scikit-learn", "scipy")}


def entry_of(
    origin: Origin, requests: Sequence[ApiRequest], basis: Literal["measured", "published"], about: Mapping[str, Any]
) -> ApiEntry | None:
    """The entry of one model at one provider; None where it has too few requests. `requests` are in time order."""
    laws = fit_laws(requests)
    if laws is None:
        return None
    good = ended_well(requests)
    prompts, outputs = [r.prompt_tokens for r in good], [r.output_tokens for r in good]
    return ApiEntry(
        provider=origin.provider,
        model=origin.model,
        names=about.get("names", ()),
        basis=basis,
        first_day=good[0].at.date().isoformat(),
        last_day=good[-1].at.date().isoformat(),
        requests=len(good),
        failed=len(requests) - len(good),
        timed_out=sum(request.timed_out for request in requests),
        concurrency=about.get("concurrency", 1),
        client=about["client"],
        sources=about.get("sources", ()),
        ttft=laws.ttft,
        time_per_token=laws.token,
        end_to_end=laws.end_to_end,
        valid=ApiRange((min(prompts), max(prompts)), (min(outputs), max(outputs))),
        held_out=held_out(requests),
        days=days(requests, laws),
        notes=about["notes"],
    )
