"""How long it takes until a model can answer: reading its file, or finding it in memory already.

Formula: bytes / rate. The rate of a disk is stated or measured by whoever asks; nothing here assumes one.
"""

from __future__ import annotations

from estimator.specs import Hardware, ModelFile, Workload
from estimator.theory.split import device_share_bytes
from estimator.theory.weights import repacked_bytes

_ANY_WORK = Workload(1, 1)


def file_bytes(file: ModelFile) -> int:
    """Size of the model file, or where only the tensors are known their bytes (less by the header, some MB)."""
    return file.file_bytes or file.weight_bytes


def load_from_disk_s(file: ModelFile, disk_bytes_per_s: float) -> float:
    """bytes of the file / rate of the disk, in seconds: nothing of it is in the page cache.

    A file that is mapped is read when its pages are first touched: then the first prompt waits for it, not the start.
    """
    return file_bytes(file) / disk_bytes_per_s


def load_from_page_cache_s(file: ModelFile, hardware: Hardware) -> float | None:
    """Everything in the page cache: only what is copied counts, in seconds; None where the rate is not known.

    cpu      2 x repacked copy / bandwidth (read and written); a mapped file is used where it lies
    gpu      weights / link
    unified  0: mapped where it lies
    A bound from below: reading the header, allocating and starting threads come on top.
    """
    if hardware.kind == "unified":
        return 0.0
    if hardware.kind == "gpu":
        link = hardware.link_bandwidth_bytes_per_s
        return None if link is None else device_share_bytes(file, _ANY_WORK)[0] / link
    bandwidth = hardware.bandwidth_bytes_per_s
    return None if bandwidth is None else 2 * repacked_bytes(file) / bandwidth
