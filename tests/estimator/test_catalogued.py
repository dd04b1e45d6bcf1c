"""Predictions for hardware of the catalogue: theory only, device memory, assumptions said, the rent of an instance."""

import pytest

from estimator import predict
from estimator.catalog import find_model
from estimator.clouds import find_instance
from estimator.device import catalogued_hardware, usable_bytes
from estimator.errors import EstimatorError
from estimator.hardware import find_part, find_parts, parts
from estimator.machine import size_bytes
from estimator.prices import Prices
from estimator.render import answer_text
from estimator.specs import Hardware, Workload
from estimator.tensors import model_file
from estimator.theory.buffers import compute_buffer_bytes, output_buffer_bytes
from estimator.theory.memory import device_need
from tests.estimator.examples import FILE, MODEL, WORK, coefficients

GIB = 2**30
MISTRAL = model_file(find_model("mistral:7b"), "Q4_K_M")


def hardware(text: str, memory_bytes: int | None = None) -> Hardware:
    part, devices = find_parts(text)
    return catalogued_hardware(part, devices, memory_bytes)


def test_coefficients_of_another_machine_are_never_applied() -> None:
    for name in ("RTX 4090", "Apple M2 Max", "EPYC 7763"):
        answer = predict(FILE, WORK, hardware(name), coefficients())
        assert answer.calibration is None
        assert "calibrated" not in {quantity.basis for quantity in (*answer.speed.values(), *answer.memory.values())}
        assert answer.warnings[0].startswith("theory only")
        assert "coefficients fitted on another machine are not applied" in answer.warnings[0]


def test_decode_is_the_weights_at_the_bandwidth_of_the_gpu() -> None:
    # 4,368,438,944 published bytes less header and embedding, and 576.5 cells of 128 KiB, at 600 GB/s.
    token = predict(MISTRAL, Workload(512, 128), hardware("A10G")).speed["time_per_token_s"].value
    assert token == pytest.approx((4.294e9 + 576.5 * 131_072) / 600e9, rel=0.003)


def test_prefill_is_bound_by_the_dense_matrix_rate_which_is_named() -> None:
    answer = predict(MISTRAL, Workload(512, 128), hardware("A10G"))
    # 2 x (7,241,732,096 - 2 x 32,000 x 4096) FLOP a token, the head once, and attention, at 70 TFLOP/s.
    attention = 4 * 32 * 4096 * (512 * 513 // 2)
    flop = 2 * (7_241_732_096 - 2 * 32_000 * 4096) * 512 + attention + 2 * 32_000 * 4096
    assert answer.speed["ttft_s"].value == pytest.approx(flop / 70e12, rel=0.001)
    assert (
        "prefill by the dense FP16 matrix rate; engines that multiply quants in int8 may exceed it" in answer.warnings
    )


def test_a_gpu_holds_weights_cache_and_buffers_but_no_copy_for_cpu_kernels() -> None:
    answer = predict(MISTRAL, Workload(512, 128), hardware("RTX 4090"))
    memory = {name: quantity.value for name, quantity in answer.memory.items()}
    assert "repacked_bytes" not in memory
    assert memory["host_weights_bytes"] == 32_000 * 4096 * 144 / 256
    assert memory["weights_bytes"] == MISTRAL.weight_bytes - 32_000 * 4096 * 144 / 256
    assert memory["total_bytes"] == sum(
        memory[f"{name}_bytes"] or 0 for name in ("weights", "kv_cache", "compute", "output")
    )
    assert answer.fit.needed_bytes == memory["total_bytes"]
    assert answer.fit.available_bytes == 24 * GIB * 15 // 16 - GIB // 2


def test_a_tied_embedding_is_the_head_and_lies_on_the_gpu_and_on_the_host() -> None:
    file = model_file(find_model("gemma2:2b"), "Q8_0")
    need = device_need(file, Workload(512, 128), 1, shares_host_memory=False)
    assert (need.weights_bytes, need.host_weights_bytes) == (file.weight_bytes, 256_000 * 2304 * 34 // 32 + 2304 * 4)
    # Logits of 512 rows of 256,000 entries, which older engines plan for.
    assert need.compute_bytes == 4 * 512 * (256_000 + 2 * 2304 + 1)


def test_with_unified_memory_the_embedding_counts_too() -> None:
    answer = predict(MISTRAL, Workload(512, 128), hardware("M2 Max"))
    assert answer.memory["weights_bytes"].value == MISTRAL.weight_bytes
    assert answer.memory["host_weights_bytes"].value == 0


def test_what_does_not_fit_into_device_memory_is_a_no_and_never_tight() -> None:
    large = model_file(find_model("llama3.1:8b"), "F16")
    assert predict(large, WORK, hardware("RTX 3060")).fit.fits == "no"
    assert predict(large, WORK, hardware("RTX 3090")).fit.fits == "yes"


def test_several_gpus_add_up_their_memory_but_not_their_speed() -> None:
    large = model_file(find_model("llama3.1:8b"), "F16")
    one, two = (predict(large, WORK, hardware(name)) for name in ("RTX 3060", "2x RTX 3060"))
    assert (one.fit.fits, two.fit.fits) == ("no", "yes")
    assert two.speed["time_per_token_s"].value == one.speed["time_per_token_s"].value
    assert any("layers split over 2 GPUs" in warning for warning in two.warnings)


def test_the_fullest_of_several_gpus_decides() -> None:
    # 3 layers count (2 and the head): of two devices the fullest may hold ceil(3 / 2) + 1 of them, all.
    need = device_need(FILE, WORK, 2, shares_host_memory=False)
    buffers = max(compute_buffer_bytes(MODEL, WORK), 4 * 512 * (1000 + 2 * 256 + 1)) + output_buffer_bytes(MODEL, WORK)
    # Three more masks (768 cells, indices) and four more rows of inputs.
    buffers += 3 * 512 * (2 * 768 + 36) + 4 * 4 * 512 * 256
    assert need.largest_share_bytes == need.weights_bytes + need.kv_cache_bytes + buffers
    assert predict(FILE, WORK, hardware("2x RTX 3090")).fit.needed_bytes == 2 * need.largest_share_bytes


@pytest.mark.parametrize(
    ("name", "memory", "usable"),
    [
        ("A10G", 24, 22.0),
        ("H100", 80, 78.25),
        ("M2", 16, 32 / 3),
        ("M2 Max", 64, 48.0),
        ("EPYC 7763", 64, 56.0),
    ],
)
def test_less_than_the_whole_memory_is_assumed_usable(name: str, memory: int, usable: float) -> None:
    assert usable_bytes(find_part(name), memory * GIB) == int(usable * GIB)


def test_the_smallest_memory_in_which_a_chip_is_sold_is_assumed_and_said() -> None:
    answer = predict(MISTRAL, WORK, hardware("M2 Max"))
    assert answer.hardware.memory_total_bytes == 32 * GIB
    assert any(warning.startswith("sold with 32, 64 GiB: the smallest is assumed") for warning in answer.warnings)
    stated = predict(MISTRAL, WORK, hardware("M2 Max", 64 * GIB))
    assert stated.fit.available_bytes == 48 * GIB
    assert not any("smallest" in warning for warning in stated.warnings)


def test_where_nobody_said_how_much_memory_there_is_the_fit_is_unknown() -> None:
    answer = predict(MISTRAL, WORK, hardware("EPYC 9654"))
    assert (answer.fit.fits, answer.fit.available_bytes, answer.fit.margin_bytes) == ("unknown", None, None)
    assert answer.speed["time_per_token_s"].value is not None
    assert "fits: unknown; how much memory there is, nobody said" in answer_text(answer)
    assert any("--memory 64GiB" in warning for warning in answer.warnings)
    assert predict(MISTRAL, WORK, hardware("EPYC 9654", 64 * GIB)).fit.fits == "yes"
    assert predict(MISTRAL, WORK, hardware("M5 Max")).fit.fits == "unknown"


def test_latent_attention_on_a_gpu_is_never_promised_to_fit_but_can_be_refused() -> None:
    file = model_file(find_model("deepseek-v2:16b"), "Q4_K_M")
    roomy = predict(file, WORK, hardware("H100 SXM")).fit
    assert (roomy.fits, roomy.available_bytes, "latent attention" in roomy.reason) == (
        "unknown", hardware("H100 SXM").memory_free_bytes, True,
    )  # fmt: skip
    assert predict(file, WORK, hardware("GTX 1060 6GB")).fit.fits == "no"


def test_the_textbook_is_available_for_the_catalogue_too() -> None:
    answer = predict(model_file(find_model("mistral:7b"), "Q4_0"), WORK, hardware("RTX 4090"), formulas="textbook")
    assert answer.fit.fits == "yes"
    assert answer.warnings[0].startswith("textbook formulas")


def test_every_part_gets_an_answer_of_80_columns() -> None:
    for part in parts():
        answer = predict(MISTRAL, WORK, catalogued_hardware(part), prices=Prices(1.0))
        assert max(map(len, answer_text(answer).splitlines())) <= 80
        assert answer.speed["decode_tokens_per_s"].value is not None


def test_a_rent_is_divided_by_the_utilisation_and_a_month_is_730_hours() -> None:
    instance = find_instance("g5.xlarge")
    machine = catalogued_hardware(find_part(instance.part), instance.gpus)
    full, half = (predict(FILE, WORK, machine, prices=Prices(instance.usd_per_hour, utilisation=u)) for u in (1.0, 0.5))
    busy_s = full.speed["end_to_end_s"].value
    assert busy_s is not None
    assert full.cost["rented_usd"].value == pytest.approx(1.006 / 3600 * busy_s)
    assert half.cost["rented_usd"].value == pytest.approx(2 * 1.006 / 3600 * busy_s)
    assert half.cost["rented_per_million_output_tokens_usd"].value == pytest.approx(
        2 * 1.006 / 3600 * busy_s / WORK.output_tokens * 1e6
    )
    assert full.cost["rented_per_month_usd"].value == half.cost["rented_per_month_usd"].value == 1.006 * 730
    assert full.cost["rented_per_month_usd"].basis == "stated"
    assert "always busy (utilisation 1)" in (full.cost_basis or "")
    assert "busy 0.5 of the time" in (half.cost_basis or "")


def test_requests_that_run_together_share_the_rent() -> None:
    work = Workload(512, 129, concurrency=4)
    cost = predict(FILE, work, hardware("RTX 4090"), prices=Prices(1.0)).cost
    assert cost["rented_per_request_usd"].value == pytest.approx((cost["rented_usd"].value or 0) / 4)
    assert "rented_per_request_usd" not in predict(FILE, WORK, hardware("RTX 4090"), prices=Prices(1.0)).cost


@pytest.mark.parametrize("prices", [Prices(1.0, utilisation=0), Prices(1.0, utilisation=1.01), Prices(utilisation=0.5)])
def test_a_utilisation_that_makes_no_sense_is_refused(prices: Prices) -> None:
    with pytest.raises(EstimatorError, match="utilisation"):
        predict(FILE, WORK, hardware("RTX 4090"), prices=prices)


@pytest.mark.parametrize(("text", "expected"), [("64GiB", 64 * GIB), ("24 GB", 24e9), ("1.5Ti", 1.5 * 2**40)])
def test_sizes_are_read_as_people_write_them(text: str, expected: float) -> None:
    assert size_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "64", "GiB", "-1GiB", "0GiB", "1..2GiB", "64 gigs", "1e99GiB", "99999999999TiB"])
def test_a_size_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(EstimatorError, match="cannot read the size"):
        size_bytes(text)
