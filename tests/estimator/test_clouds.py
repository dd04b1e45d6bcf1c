"""The catalogue of rented machines: prices dated and sourced, every GPU known, the textbook's prices among them."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest

import estimator
from estimator.clouds import Instance, find_instance, instances, instances_about
from estimator.errors import UnknownName
from estimator.hardware import find_part
from estimator.nearest import squeezed
from estimator.question import host_of

TEXTBOOK = tomllib.loads((Path(estimator.__file__).parent / "data/textbook.toml").read_text("utf-8"))


@pytest.mark.parametrize("instance", instances(), ids=lambda instance: instance.name)
def test_every_instance_has_a_known_gpu_and_a_plausible_host(instance: Instance) -> None:
    assert find_part(instance.part).name == instance.part
    assert find_part(instance.part).kind == "gpu"
    assert 1 <= instance.gpus <= 16
    assert 4 <= instance.vcpus <= 256
    assert 15 * 2**30 <= instance.memory_bytes <= 4096 * 2**30


@pytest.mark.parametrize("instance", instances(), ids=lambda instance: instance.name)
def test_a_price_has_its_region_date_and_source_and_an_unknown_one_has_nothing(instance: Instance) -> None:
    facts = (instance.usd_per_hour, instance.region, instance.price_date, instance.price_source)
    if instance.usd_per_hour is None:
        assert facts == (None, None, None, None)
        assert instance.note
    else:
        assert None not in facts
        assert 0.1 <= instance.usd_per_hour / instance.gpus <= 15
        assert (instance.price_date or "")[:4] in {"2025", "2026"}


def test_seven_eighths_of_an_instances_memory_count_as_free() -> None:
    # g5.xlarge: 16 GiB.
    host = host_of(find_instance("g5.xlarge"), 50e9)
    assert (host.memory_free_bytes, host.bandwidth_bytes_per_s) == (14 * 2**30, 50e9)


def test_no_name_means_two_instances() -> None:
    counted = Counter(name for instance in instances() for name in {squeezed(name) for name in instance.names})
    assert max(counted.values()) == 1


@pytest.mark.parametrize(("name", "usd_per_hour"), TEXTBOOK["instance_usd_per_hour"].items())
def test_the_prices_of_the_textbook_are_there(name: str, usd_per_hour: float) -> None:
    assert find_instance(name).usd_per_hour == usd_per_hour


@pytest.mark.parametrize("family", ["g4dn", "g5", "g6", "g6e", "p3", "p4d", "p5", "T4", "V100", "L4", "A100", "H100"])
def test_the_families_that_were_asked_for_are_there(family: str) -> None:
    assert any(instance.usd_per_hour is not None for instance in instances_about(family))


@pytest.mark.parametrize("provider", ["AWS", "GCP", "Azure"])
@pytest.mark.parametrize("gpu", ["T4", "V100", "A100", "H100"])
def test_every_provider_has_the_usual_gpus(provider: str, gpu: str) -> None:
    assert instances_about(f"{provider} {gpu}")


@pytest.mark.parametrize("name", ["g5.xlarge", "G5 xlarge", "g5-xlarge"])
def test_an_instance_is_found_however_it_is_written(name: str) -> None:
    assert find_instance(name).part == "NVIDIA A10G"


def test_an_azure_size_needs_no_prefix() -> None:
    assert find_instance("NC4as_T4_v3") is find_instance("standard nc4as t4 v3")


def test_an_unknown_instance_says_which_ones_are_near() -> None:
    with pytest.raises(UnknownName, match=r"unknown instance 'g5.xlrge'; did you mean g5\.xlarge"):
        find_instance("g5.xlrge")


def test_more_gpus_of_one_family_never_cost_less() -> None:
    for family in ("g5", "g6", "p3", "a2-highgpu", "a3-highgpu"):
        rows = [row for row in instances() if row.name.startswith((f"{family}.", f"{family}-")) and row.usd_per_hour]
        by_gpus = {gpus: [row.usd_per_hour or 0 for row in rows if row.gpus == gpus] for gpus in {r.gpus for r in rows}}
        least = [min(by_gpus[gpus]) for gpus in sorted(by_gpus)]
        assert least == sorted(least)
        assert len(least) > 1
