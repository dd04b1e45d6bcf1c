"""How long loading a model takes, by hand: its bytes over the rate of the disk, of the memory or of the link."""

from dataclasses import replace

import pytest

from estimator import Hardware, predict
from estimator.theory.load import load_from_disk_s, load_from_page_cache_s
from tests.estimator.examples import FILE, HARDWARE, WORK


def test_from_disk_every_byte_of_the_file_is_read_once() -> None:
    # 144,000 + 210,000 + 562,500 + 82,031 + 5,120 bytes of tensors, or the file's own size where it is known.
    assert load_from_disk_s(FILE, 1e6) == pytest.approx(1.003651)
    assert load_from_disk_s(replace(FILE, file_bytes=2_000_000), 1e6) == pytest.approx(2.0)


def test_from_the_page_cache_a_cpu_reads_and_writes_what_it_repacks() -> None:
    # Of the toy the Q4_K matrices, 562,500 bytes, at 10 GB/s.
    assert load_from_page_cache_s(FILE, HARDWARE) == pytest.approx(2 * 562_500 / 10e9)
    assert load_from_page_cache_s(FILE, replace(HARDWARE, bandwidth_bytes_per_s=None)) is None


def test_a_gpu_takes_its_weights_over_the_link_and_shared_memory_nothing() -> None:
    gpu = replace(HARDWARE, kind="gpu", link_bandwidth_bytes_per_s=1e9)
    assert load_from_page_cache_s(FILE, gpu) == pytest.approx((FILE.weight_bytes - 144_000) / 1e9, abs=2e-9)
    assert load_from_page_cache_s(FILE, replace(gpu, link_bandwidth_bytes_per_s=None)) is None
    assert load_from_page_cache_s(FILE, replace(HARDWARE, kind="unified")) == 0.0


def test_an_answer_says_how_long_loading_takes_where_the_disk_is_stated() -> None:
    def loads(hardware: Hardware) -> dict[str, float | None]:
        return {name: found.value for name, found in predict(FILE, WORK, hardware).speed.items() if "load" in name}

    assert loads(HARDWARE) == {}
    assert loads(replace(HARDWARE, disk_bytes_per_s=1e6)) == {
        "load_from_disk_s": pytest.approx(1.003651),
        "load_from_page_cache_s": pytest.approx(2 * 562_500 / 10e9),
    }
