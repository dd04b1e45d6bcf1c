"""Does it fit: what must stay in memory against what is available."""

from __future__ import annotations

from dataclasses import replace

from estimator.answer import Fits, Verdict
from estimator.specs import Host
from estimator.theory.memory import DeviceNeed, MemoryNeed


def fit_verdict(
    need: MemoryNeed, available_bytes: int | None, anonymous_factor: float = 1.0, file_factor: float = 1.0
) -> Verdict:
    """The verdict on `need`, whose anonymous and file-backed parts are at most these factors larger.

    yes    anonymous + hot file pages fit at their upper bound: nothing that is needed is ever evicted
    tight  anonymous memory fits, but file-backed weights do not: they are read from disk for every token
    no     not even the anonymous memory fits
    unknown where nobody said how much is available
    Weights that were repacked are no hot file pages: their copy is read, and evicting them costs nothing.
    """
    anonymous = round(need.anonymous_bytes * anonymous_factor)
    needed = anonymous + round(need.hot_file_bytes * file_factor)
    if available_bytes is None:
        return _unknown(needed, anonymous)
    fits, reason = _judged(anonymous, needed, available_bytes)
    return Verdict(fits, needed, anonymous, available_bytes, available_bytes - needed, reason)


def device_verdict(
    need: DeviceNeed, devices: int, available_bytes: int | None, buffers_bounded: bool = True
) -> Verdict:
    """The verdict on GPUs that hold all layers: the fullest of `devices` must fit into its part, or it is a no.

    There is no "tight": what is not in device memory would have to be computed elsewhere. Where nobody knows how
    large the buffers may become (not `buffers_bounded`) what would fit is unknown, and what does not fit is still a no.
    """
    needed = need.largest_share_bytes * devices
    if available_bytes is None:
        return _unknown(needed, needed)
    fits: Fits = "yes" if needed <= available_bytes else "no"
    reason = "all layers with cache and buffers stay on the GPU"
    if fits == "no":
        reason = "not all layers fit on the GPU: choose a smaller model, weight type or context"
    elif not buffers_bounded:
        fits = "unknown"
        reason = (
            "it would fit by the formulas, but logs show buffers of latent attention up to 16 GiB above them on GPUs"
        )
    return Verdict(fits, needed, needed, available_bytes, available_bytes - needed, reason)


def host_verdict(device: Verdict, need: MemoryNeed, host: Host | None, whole: bool) -> Verdict:
    """The verdict on GPU and host together: `device` holds for both only if the host takes the rest.

    Where nobody said what the host has, layers that are left to it (not `whole`) make a "yes" unknown; if it keeps
    no layer, only the table of embeddings, that is left out.
    """
    needed = need.anonymous_bytes + need.hot_file_bytes
    free = None if host is None else host.memory_free_bytes
    if free is None:
        if device.fits == "yes" and not whole:
            reason = "the GPU's part fits; how much memory the host has for the rest, nobody said"
            device = replace(device, fits="unknown", reason=reason)
        return replace(device, host_needed_bytes=needed)
    if needed > free and device.fits != "no":
        reason = "the GPU's part fits, but what stays on the host does not fit into its memory"
        device = replace(device, fits="no", reason=reason)
    elif not whole and device.fits == "yes":
        device = replace(device, reason="the layers fit on the GPU and the host as split")
    return replace(device, host_needed_bytes=needed, host_available_bytes=free)


def _unknown(needed: int, anonymous: int) -> Verdict:
    return Verdict("unknown", needed, anonymous, None, None, "how much memory there is, nobody said")


def _judged(anonymous: int, needed: int, available: int) -> tuple[Fits, str]:
    if needed <= available:
        return "yes", "everything that a token needs stays in memory"
    if anonymous <= available:
        return "tight", "weights will be evicted and read from disk again for every token: expect it to be slow"
    return "no", "memory that cannot be evicted exceeds what is available: choose a smaller model, type or context"
