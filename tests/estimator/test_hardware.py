"""The catalogue of hardware: every row plausible and sourced, well-known parts by hand, names as people write them."""

from collections import Counter

import pytest

from estimator.errors import UnknownName
from estimator.hardware import Part, find_part, find_parts, parts, parts_about
from estimator.nearest import machine_key

GIB = 2**30


def test_there_are_at_least_150_parts_of_every_kind_of_machine() -> None:
    assert len(parts()) >= 150
    assert {"NVIDIA", "AMD", "Intel", "Apple", "Raspberry Pi", "AWS", "Ampere"} <= {part.maker for part in parts()}
    families = {part.family for part in parts()}
    assert {
        "Pascal",
        "Volta",
        "Turing",
        "Ampere",
        "Ada",
        "Hopper",
        "Blackwell",
        "M1",
        "M2",
        "M3",
        "M4",
        "M5",
    } <= families
    assert min(Counter(part.kind for part in parts()).values()) >= 30


@pytest.mark.parametrize("part", parts(), ids=lambda part: part.name)
def test_every_part_has_its_source_and_plausible_figures(part: Part) -> None:
    assert len(part.source) > 10
    assert part.source_date[:2] == "20"
    assert 2012 <= part.year <= 2026
    assert 2e9 <= part.bandwidth_bytes_per_s <= 10e12
    for size in (part.memory_bytes, *part.memory_options_bytes):
        assert size is None or (GIB // 2 <= size <= 512 * GIB and size % (GIB // 2) == 0)
    assert part.tdp_w is None or 5 <= part.tdp_w <= 1500
    rates = (part.fp32_flop_per_s, part.fp16_vector_flop_per_s, part.fp16_matrix_flop_per_s)
    for rate in (*rates, part.int8_matrix_operations_per_s):
        assert rate is None or 1e11 <= rate <= 6e15
    assert part.rates_source is not None or rates == (None, None, None)
    assert part.kind != "gpu" or part.memory_bytes is not None


@pytest.mark.parametrize("part", parts(), ids=lambda part: part.name)
def test_rates_stand_in_an_order_that_hardware_can_have(part: Part) -> None:
    matrix, single = part.fp16_matrix_flop_per_s, part.fp32_flop_per_s
    if matrix and single:
        assert single <= matrix <= 40 * single
    if matrix:
        assert matrix / 2.001 <= (part.fp16_matrix_fp32_accumulate_flop_per_s or 0) <= matrix
    if matrix and part.int8_matrix_operations_per_s:
        assert 0.999 * matrix <= part.int8_matrix_operations_per_s <= 2.05 * matrix
    if part.fp16_vector_flop_per_s:
        assert single
        assert single <= part.fp16_vector_flop_per_s <= 2.001 * single


@pytest.mark.parametrize(
    "part",
    [part for part in parts() if part.memory_bus_bits and part.memory_transfers_per_s],
    ids=lambda part: part.name,
)
def test_bandwidth_is_bus_times_rate(part: Part) -> None:
    # Apple and NVIDIA round what they publish: 204.8 GB/s is "200GB/s".
    assert (part.memory_bus_bits or 0) / 8 * (part.memory_transfers_per_s or 0) == pytest.approx(
        part.bandwidth_bytes_per_s, rel=0.026
    )


def test_most_bandwidths_can_be_checked_against_bus_and_rate() -> None:
    assert sum(part.memory_bus_bits is not None for part in parts()) > 0.95 * len(parts())


def test_no_name_means_two_parts() -> None:
    counted = Counter(machine_key(name) for part in parts() for name in part.names)
    assert [name for name, count in counted.items() if count > 1] == []


# Published by the makers: GB/s, GiB, dense FP16 matrix TFLOP/s (None: no matrix units), W (None: not published).
@pytest.mark.parametrize(
    ("name", "bandwidth", "memory", "matrix", "tdp"),
    [
        ("H100 SXM", 3350, 80, 989, 700),
        ("H100 PCIe", 2039, 80, 756, 350),
        ("H200", 4800, 141, 989, 700),
        ("A100-SXM4-80GB", 2039, 80, 312, 400),
        ("A100-PCIE-40GB", 1555, 40, 312, 250),
        ("V100 SXM2", 900, 16, 125, 300),
        ("Tesla T4", 320, 16, 65, 70),
        ("L4", 300, 24, 121, 72),
        ("L40S", 864, 48, 362, 350),
        ("A10G", 600, 24, 70, 300),
        ("RTX 4090", 1008, 24, 330.3, 450),
        ("RTX 3090", 936, 24, 142, 350),
        ("RTX 5090", 1792, 32, 419, 575),
        ("RTX 2080 Ti", 616, 11, 107.6, 250),
        ("GTX 1080 Ti", 484, 11, None, 250),
        ("RTX A6000", 768, 48, 154.8, 300),
        ("RTX 6000 Ada", 960, 48, 364.2, 300),
        ("MI300X", 5300, 192, 1307, 750),
        ("RX 7900 XTX", 960, 24, 122.8, 355),
        ("RX 9070 XT", 640, 16, 195, 304),
        ("Arc A770", 560, 16, 157, 225),
        ("Arc B580", 456, 12, 109, 190),
        ("B200", 7700, 180, 2250, 1000),
        ("DGX Spark", 273, 128, 119, 140),
    ],
)
def test_a_well_known_gpu_has_its_published_figures(
    name: str, bandwidth: float, memory: float, matrix: float | None, tdp: float
) -> None:
    part = find_part(name)
    assert part.bandwidth_bytes_per_s / 1e9 == pytest.approx(bandwidth, rel=0.005)
    assert part.memory_bytes == memory * GIB
    rate = part.fp16_matrix_flop_per_s
    assert (None if rate is None else rate / 1e12) == (matrix if matrix is None else pytest.approx(matrix, rel=0.01))
    assert part.tdp_w == tdp


@pytest.mark.parametrize(
    ("name", "bandwidth"),
    [
        ("M1", 68.3),
        ("M2 Max", 400),
        ("M1 Ultra", 800),
        ("M3 Max 40-core", 400),
        ("M4 Max 40c", 546),
        ("M4 Pro", 273),
        ("M5", 153),
        ("EPYC 7763", 204.8),
        ("EPYC 9654", 460.8),
        ("Xeon Sapphire Rapids", 307.2),
        ("Ryzen 9 7950X", 83.2),
        ("i9-13900K", 89.6),
        ("Raspberry Pi 4", 12.8),
        ("Raspberry Pi 5", 17.07),
        ("Strix Halo", 256),
    ],
)
def test_a_well_known_chip_has_its_published_bandwidth(name: str, bandwidth: float) -> None:
    assert find_part(name).bandwidth_bytes_per_s / 1e9 == pytest.approx(bandwidth, rel=0.005)


@pytest.mark.parametrize(
    "name", ["RTX 4090", "rtx-4090", "rtx4090", "NVIDIA GeForce RTX 4090", "nvidia_geforce_rtx_4090", "NvidiaRTX4090"]
)
def test_a_name_is_found_however_it_is_written(name: str) -> None:
    assert find_part(name).name == "NVIDIA GeForce RTX 4090"


def test_every_name_leads_to_its_own_part() -> None:
    assert all(find_part(name) is part for part in parts() for name in part.names)


def test_the_variants_that_are_easily_confused_are_told_apart() -> None:
    assert find_part("H200").name != find_part("B200").name
    assert find_part("H100 PCIe").bandwidth_bytes_per_s < find_part("H100").bandwidth_bytes_per_s
    assert find_part("Arc A770").memory_bytes == 16 * GIB


@pytest.mark.parametrize(
    ("name", "near"), [("rtx 4099", "rtx 4090"), ("4090", "rtx 4090"), ("7900 xtx", "rx 7900 xtx"), ("m2 mx", "m2 max")]
)
def test_an_unknown_name_says_which_ones_are_near(name: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown hardware '{name}'; did you mean .*{near}"):
        find_part(name)


def test_a_count_stands_before_the_name() -> None:
    part, count = find_parts("2x RTX 3090")
    assert (part.name, count) == ("NVIDIA GeForce RTX 3090", 2)
    assert find_parts("8 × H100")[1] == 8
    assert find_parts("RTX 3090")[1] == 1


@pytest.mark.parametrize("text", ["0x RTX 3090", "9999x RTX 3090", "2x M2 Max", "2x EPYC 7763", "2x", ""])
def test_a_count_that_makes_no_machine_is_refused(text: str) -> None:
    with pytest.raises(UnknownName):
        find_parts(text)


def test_parts_are_listed_by_words_of_their_names_makers_and_families() -> None:
    assert {part.maker for part in parts_about("apple m2")} == {"Apple"}
    assert "NVIDIA GeForce RTX 4090" in [part.name for part in parts_about("ada 4090")]
    assert parts_about(None) == parts()
    assert parts_about("no such thing") == ()


def test_the_compute_rate_of_a_part_without_matrix_units_is_its_fp32_or_packed_rate() -> None:
    assert find_part("Tesla P40").compute == (find_part("Tesla P40").fp32_flop_per_s, "FP32 rate")
    assert find_part("Tesla P100").compute[1] == "packed FP16 rate"
    assert find_part("RTX 4090").compute[1] == "dense FP16 matrix rate"
    assert find_part("EPYC 7763").compute == (None, "compute rate")
