"""Published requests to hosted APIs (results/reference/api) as entries of the shipped reference.

`requests.csv` holds single requests; what is a quantile of many stands apart in `quantiles.csv` and is no input here.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from calibration.api.fitting import entry_of, libraries
from calibration.api.requests import ApiRequest, Origin
from calibration.errors import UnreadableResults
from estimator.api.file import ApiCoefficients, ApiEntry, ApiRecords

FOLDER = Path("results/reference/api")
# Characters a token of LatencyLab's English prompts (its answers have 5.0 a streamed chunk), and its instruction.
_CHARACTERS_PER_TOKEN = 5.0
_INSTRUCTION_TOKENS = 15
_CLIENTS = {
    "llmperf-leaderboard": "LLMPerf on AWS EC2 i4i.large in us-west-2",
    "LatencyLab": "LatencyLab on Google Cloud in France",
}
_TIMEOUT = "timeout"
# The source's two counts of output tokens contradict each other from this difference on.
_SAME_COUNT = 0.1


def published(folder: Path = FOLDER) -> ApiCoefficients:
    """The fit of every model at every provider in `folder`. Raises UnreadableResults where the tables are not there."""
    try:
        text = (folder / "requests.csv").read_text("utf-8")
        names = {row["model"]: row for row in _rows((folder / "names.csv").read_text("utf-8"))}
    except OSError as error:
        raise UnreadableResults(
            f"cannot read {error.filename}: {error.strerror}; it holds the published requests"
        ) from error
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in _rows(text):
        groups.setdefault((row["provider"], row["model"]), []).append(row)
    entries = [_entry(rows, names.get(model, {})) for (_, model), rows in sorted(groups.items())]
    digest = hashlib.sha256(text.encode()).hexdigest()
    found = tuple(entry for entry in entries if entry is not None)
    records = ApiRecords(1, sum(entry.requests for entry in found), f"sha256:{digest}")
    return ApiCoefficients("", records, libraries(), found)


def _rows(text: str) -> Iterable[dict[str, str]]:
    return csv.DictReader(text.splitlines())


def _entry(rows: Sequence[Mapping[str, str]], name: Mapping[str, str]) -> ApiEntry | None:
    first = rows[0]
    about = {
        "names": tuple(name["names"].split(";")) if name else (),
        "client": _CLIENTS[first["source"]],
        "sources": tuple(dict.fromkeys(row["source_url"] for row in rows)),
        "concurrency": int(first["concurrency"]),
        "notes": tuple(note for note in (name.get("note", ""), *_notes(rows)) if note),
    }
    origin = Origin(first["provider"], first["model"], first["provider"])
    return entry_of(origin, [_request(row) for row in rows], "published", about)


def _request(row: Mapping[str, str]) -> ApiRequest:
    """One row; rows of a day without an instant are in the order in which the source lists them."""
    at = datetime.fromisoformat(row["at"] or f"{row['date']}T00:00:00Z") + timedelta(milliseconds=int(row["order"]))
    if row["error"]:
        return ApiRequest(at, 0, 0, None, None, None, failed=True, timed_out=row["error"] == _TIMEOUT)
    prompt = int(row["prompt_tokens"]) if row["prompt_tokens"] else _tokens(int(row["prompt_characters"]))
    output, first, whole = int(row["output_tokens"]), float(row["ttft_s"]), float(row["e2e_s"])
    gap = (whole - first) / (output - 1) if output > 1 else None
    return ApiRequest(at, prompt, output, first, gap, whole)


def _tokens(characters: int) -> int:
    return round(characters / _CHARACTERS_PER_TOKEN) + _INSTRUCTION_TOKENS


def _notes(rows: Sequence[Mapping[str, str]]) -> list[str]:
    notes = []
    if any(row["prompt_characters"] for row in rows):
        notes.append("prompt tokens are not stated: characters / 5 + 15; output tokens are the streamed chunks")
    pairs = [(int(r["output_tokens"]), int(r["throughput_tokens"])) for r in rows if r["throughput_tokens"]]
    if pairs:
        count, other = median(a for a, _ in pairs), median(b for _, b in pairs)
        if abs(other / count - 1) > _SAME_COUNT:
            notes.append(
                f"the source counts its output tokens twice, {count:.0f} and {other:.0f}: time per token stands on "
                "the first, as its own tables do"
            )
    return notes
