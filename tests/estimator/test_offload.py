"""Layers on the CPU and on one or several GPUs: memory and time of each side, by hand and by published logs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator import predict
from estimator.answer import Answer
from estimator.catalog import find_model, models
from estimator.device import catalogued_hardware
from estimator.errors import EstimatorError
from estimator.hardware import find_parts
from estimator.specs import Hardware, Host, Model, ModelFile, Workload
from estimator.tensors import model_file
from estimator.theory.buffers import device_compute_bytes, pipeline_bytes
from estimator.theory.kv_cache import kv_cache_bytes
from estimator.theory.memory import device_need
from estimator.theory.roofline import time_per_token_s
from estimator.theory.split import (
    device_share_bytes,
    fullest_layers_bytes,
    fullest_rows_bytes,
    host_share_bytes,
    layer_bytes,
    shares_by_device,
    streamed_bytes,
)
from estimator.theory.split_time import exchange_s
from estimator.theory.weights import bytes_read_per_step
from tests.estimator.examples import FILE, MODEL, WORK

GIB, MIB = 2**30, 2**20
MISTRAL = model_file(find_model("mistral:7b"), "Q4_K_M")
LLAMA = model_file(find_model("llama3:8b"), "Q4_K_M")
CONTEXT = Workload(1, 1, context_tokens=8192)


def machine(text: str, host: Host | None = None, link: float | None = None) -> Hardware:
    part, devices = find_parts(text)
    return replace(catalogued_hardware(part, devices), host=host, link_bandwidth_bytes_per_s=link)


def answer(file: ModelFile, hardware: Hardware, **settings: object) -> Answer:
    return predict(file, replace(Workload(512, 128), **settings), hardware)  # type: ignore[arg-type]


def test_layers_lie_on_gpus_as_published_logs_of_llama_3_8b_show() -> None:
    # KV buffers at 8,192 cells of XiongjieDai's logs (32 MiB a layer): 17 and 15; 9, 8, 8, 7; 6, 5, 6, 5, 6, 4 layers.
    layers = layer_bytes(LLAMA, CONTEXT)
    assert set(layers.kv_cache) == {32 * MIB}
    for counts in ((17, 15), (9, 8, 8, 7), (6, 5, 6, 5, 6, 4)):
        first, expected = 0, []
        for count in counts:
            expected.append(sum(layers.blocks[first : first + count]))
            first += count
        expected[-1] += layers.head
        assert shares_by_device(LLAMA, CONTEXT, len(counts)) == tuple(expected)


def test_the_weights_of_each_gpu_are_those_of_published_logs() -> None:
    # "CUDA0 model buffer size = 1130.62 MiB", 982.66, 982.66, 1307.55 with four GPUs.
    cache = [count * 32 * MIB for count in (9, 8, 8, 7)]
    found = [share - kept for share, kept in zip(shares_by_device(LLAMA, CONTEXT, 4), cache, strict=True)]
    logged = [1_185_540_997, 1_030_393_692, 1_030_393_692, 1_371_065_549]
    assert found == pytest.approx(logged, abs=0.01 * MIB)


def test_a_head_that_stays_on_the_host_is_copied_into_the_gpus_buffer() -> None:
    # "CUDA0 compute buffer size = 248.54 MiB": Llama 2 13B Q8_0, 512 cells, ik_llama.cpp's pull request 328.
    model = find_model("llama2:13b")
    file, work = model_file(model, "Q8_0"), Workload(1, 1, context_tokens=512, flash_attention=False, gpu_layers=40)
    head = 32_000 * 5120 * 34 // 32
    logits = 4 * 512 * (32_000 + 2 * 5120 + 1)
    assert logits + head == pytest.approx(248.54 * MIB, abs=0.03 * MIB)
    assert device_compute_bytes(model, work) + streamed_bytes(file, work) >= logits + head
    assert streamed_bytes(file, replace(work, gpu_layers=41)) == 0


def test_several_gpus_keep_four_copies_of_a_micro_batchs_inputs() -> None:
    # 640.01 MiB on each of two GPUs beside 560 MiB on one, in the same logs (no flash attention).
    work = replace(CONTEXT, flash_attention=False)
    assert pipeline_bytes(LLAMA.model, work) >= 80 * MIB
    # 3 masks of 16 MiB, 4 inputs of 8 MiB, and 3 times 4 MiB of indices, to be safe.
    assert pipeline_bytes(LLAMA.model, work) < 93 * MIB
    indices = 512 * (8 * 8 * 128 + 36)
    assert pipeline_bytes(LLAMA.model, work) == 3 * (16 * MIB + indices) + 4 * 8 * MIB


def test_layers_that_are_not_on_the_gpu_leave_their_weights_and_cache_to_the_host() -> None:
    layers = layer_bytes(MISTRAL, CONTEXT)
    work = replace(CONTEXT, gpu_layers=10)
    table = 32_000 * 4096 * 144 // 256
    # Ten on the GPU: the last ten blocks, or the head and nine; 22 or 23 stay, and the larger of both counts each time.
    with_block, with_head = sum(layers.blocks[22:]), sum(layers.blocks[23:]) + layers.head
    assert sum(device_share_bytes(MISTRAL, work)) == max(with_block, with_head)
    kept_block, kept_head = sum(layers.blocks[:23]), sum(layers.blocks[:22]) + layers.head
    assert sum(host_share_bytes(MISTRAL, work)) == table + max(kept_block, kept_head)


def test_no_layer_and_all_layers_are_the_ends_of_the_split() -> None:
    none, whole = (replace(CONTEXT, gpu_layers=count) for count in (0, 33))
    assert device_share_bytes(MISTRAL, none) == (0, 0)
    assert host_share_bytes(MISTRAL, none) == (MISTRAL.weight_bytes, GIB)
    assert sum(device_share_bytes(MISTRAL, whole)) == sum(device_share_bytes(MISTRAL, CONTEXT))
    assert host_share_bytes(MISTRAL, whole) == (32_000 * 4096 * 144 // 256, 0)


@given(model=st.sampled_from(models()), counts=st.tuples(st.integers(0, 130), st.integers(0, 130)))
def test_one_more_layer_on_the_gpu_never_needs_less_there_nor_more_on_the_host(
    model: Model, counts: tuple[int, int]
) -> None:
    file = model_file(model, "Q4_K_M")
    limit = model.layers
    fewer, more = (replace(CONTEXT, gpu_layers=min(count, limit)) for count in sorted(counts))
    one, two = (device_need(file, each, 1, shares_host_memory=False).total_bytes for each in (fewer, more))
    assert one <= two
    assert sum(host_share_bytes(file, fewer)) >= sum(host_share_bytes(file, more))


@given(model=st.sampled_from(models()), devices=st.integers(1, 16))
def test_the_fullest_gpu_holds_no_less_than_any_by_the_engines_rule(model: Model, devices: int) -> None:
    file = model_file(model, "Q4_K_M")
    shares = shares_by_device(file, CONTEXT, devices)
    assert sum(shares) == sum(device_share_bytes(file, CONTEXT))
    assert max(shares) <= fullest_layers_bytes(file, CONTEXT, devices) <= sum(shares)
    assert sum(shares) >= kv_cache_bytes(model, CONTEXT)


def test_split_tensors_put_the_cache_on_the_first_gpu_and_a_share_of_rows_on_each() -> None:
    weights, cache = device_share_bytes(MISTRAL, CONTEXT)
    assert fullest_rows_bytes(MISTRAL, CONTEXT, 4) == round(weights * (1 / 4 + 128 / 4096)) + cache


def test_decode_over_both_sides_is_the_sum_of_their_times() -> None:
    host = Host(64 * GIB, 50e9, "stated")
    half = answer(MISTRAL, machine("RTX 4090", host), gpu_layers=17).speed["time_per_token_s"].value
    whole = answer(MISTRAL, machine("RTX 4090", host)).speed["time_per_token_s"].value
    assert half is not None
    assert whole is not None
    # 16 of 32 blocks and their cache (576.5 tokens of 64 KiB) at 50 GB/s, the rest at 1,008 GB/s.
    layers = layer_bytes(MISTRAL, CONTEXT)
    on_host = sum(layers.weights[:16]) + 576.5 * 65_536
    assert half == pytest.approx(on_host / 50e9 + whole - on_host / 1008e9, rel=0.001)


def test_all_layers_on_the_host_take_its_whole_time_but_for_nothing() -> None:
    host = Host(64 * GIB, 50e9, "stated")
    none = answer(MISTRAL, machine("RTX 4090", host), gpu_layers=0).speed["time_per_token_s"].value
    assert none == pytest.approx(time_per_token_s(MISTRAL, Workload(512, 128), 50e9, None), rel=1e-3)


def test_each_micro_batch_of_a_prompt_takes_the_hosts_layers_over_the_link() -> None:
    # 17 layers on the GPU, the head among them: 16 blocks are copied for each of 3 micro-batches of 512, 512 and 76.
    halves = (answer(MISTRAL, machine("RTX 4090", link=25e9), gpu_layers=g, prompt_tokens=1100) for g in (17, 33))
    split, whole = (found.speed["ttft_s"].value for found in halves)
    assert split is not None
    assert whole is not None
    assert split - whole == pytest.approx(3 * sum(layer_bytes(MISTRAL, CONTEXT).weights[:16]) / 25e9)


def test_without_the_hosts_rate_or_the_link_a_split_has_no_time_and_says_what_to_state() -> None:
    found = answer(MISTRAL, machine("RTX 4090"), gpu_layers=17)
    assert (found.speed["time_per_token_s"].value, found.speed["ttft_s"].value) == (None, None)
    assert any("--host-bandwidth" in warning for warning in found.warnings)
    assert any("--link" in warning for warning in found.warnings)
    assert found.fit.fits == "unknown"
    assert "nobody said" in found.fit.reason


def test_a_host_that_is_too_small_for_the_rest_makes_it_a_no() -> None:
    small, large = Host(GIB, None, "stated"), Host(16 * GIB, None, "stated")
    assert answer(MISTRAL, machine("RTX 4090", small), gpu_layers=10).fit.fits == "no"
    fit = answer(MISTRAL, machine("RTX 4090", large), gpu_layers=10).fit
    assert (fit.fits, fit.host_available_bytes) == ("yes", 16 * GIB)
    assert answer(MISTRAL, machine("RTX 4090", Host(GIB // 4, None, "stated"))).fit.fits == "no"


def test_split_tensors_are_read_by_all_gpus_at_the_price_of_an_exchange() -> None:
    # 2 exchanges a layer x 32 layers x 2 x 3/4 x 4096 x 4 bytes over 50 GB/s.
    assert exchange_s(MISTRAL, 1, 4, 50e9) == pytest.approx(2 * 32 * 1.5 * 16_384 / 50e9)
    one = answer(MISTRAL, machine("RTX 4090")).speed["time_per_token_s"].value
    four = answer(MISTRAL, machine("4x RTX 4090", link=50e9), split="tensor").speed["time_per_token_s"].value
    assert four == pytest.approx((one or 0) / 4 + exchange_s(MISTRAL, 1, 4, 50e9))
    layers = answer(MISTRAL, machine("4x RTX 4090")).speed["time_per_token_s"].value
    assert layers == one


def test_each_micro_batch_of_a_prompt_reads_the_weights_of_split_tensors_anew() -> None:
    # A slow memory bounds all 4 micro-batches: matrices 4 times, the head once, their cache, over 2 x 1 GB/s.
    hardware = replace(machine("2x RTX 4090", link=50e9), bandwidth_bytes_per_s=1e9)
    found = answer(MISTRAL, hardware, split="tensor", prompt_tokens=2048).speed["ttft_s"].value
    head = 32_000 * 4096 * 210 // 256
    read = 4 * (bytes_read_per_step(MISTRAL) - head) + head + (512 + 1024 + 1536 + 2048) * 128 * 1024
    assert found == pytest.approx(read / 2e9 + exchange_s(MISTRAL, 2048, 2, 50e9))


def test_split_tensors_without_a_known_link_have_no_time() -> None:
    found = answer(MISTRAL, machine("2x RTX 4090"), split="tensor")
    assert found.speed["time_per_token_s"].value is None
    assert any("--link" in warning for warning in found.warnings)
    assert not any(warning.startswith("layers split") for warning in found.warnings)


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"gpu_layers": 3}, "M2 Max"), ({"gpu_layers": -1}, "RTX 4090"), ({"split": "tensor"}, "RTX 4090")],
)
def test_splits_that_make_no_sense_are_refused(settings: dict[str, object], name: str) -> None:
    with pytest.raises(EstimatorError):
        answer(MISTRAL, machine(name), **settings)


def test_where_only_sums_are_known_layers_are_laid_out_by_their_shapes() -> None:
    unknown = replace(FILE, layer_bytes=())
    layers = layer_bytes(unknown, WORK)
    assert len(layers.weights) == MODEL.layers
    assert sum(layers.weights) + layers.head == FILE.weight_bytes - 144_000
    uniform = model_file(find_model("llama3.1:8b"), "F16")
    assert layer_bytes(replace(uniform, layer_bytes=()), WORK).weights == pytest.approx(uniform.layer_bytes, rel=1e-3)
