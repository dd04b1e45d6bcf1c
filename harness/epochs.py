"""Which clock the instants of an engine are of: a machine's monotonic clock begins anew when it boots. Pure."""

from __future__ import annotations

from harness.record import Record


def epochs(record: Record) -> dict[str, int]:
    """The number of the clock of each subject, by its id, from 0 on: instants are in order within one epoch only.

    In one sitting engines are opened one after the other, and nothing is asked of one while another is at work; so the
    clock has begun anew where an engine was started before the last one was ready, or was asked first before something
    ended that stands before it in the journal. A new clock that is ahead of all of the old one needs no telling apart.
    """
    latest_ns: dict[str, int] = {}
    asked: dict[str, tuple[int, dict[str, int]]] = {}
    for request in record.requests:
        if request.subject_id not in asked:
            asked[request.subject_id] = request.sent_ns, dict(latest_ns)
        latest_ns[request.subject_id] = max(latest_ns.get(request.subject_id, request.ended_ns), request.ended_ns)
    found: dict[str, int] = {}
    epoch, ready_ns = 0, None
    for subject in record.subjects:
        first_ns, before = asked.get(subject.subject_id, (0, {}))
        overlaps = any(ended_ns > first_ns for other, ended_ns in before.items() if found.get(other) == epoch)
        epoch += overlaps or (ready_ns is not None and subject.started_ns < ready_ns)
        found[subject.subject_id], ready_ns = epoch, subject.ready_ns
    return found
