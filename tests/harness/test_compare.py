"""Comparing runs: what is called faster or slower, how often by chance, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from estimator.gpus import NO_GPU_DRIVER, NO_GPU_LISTED
from harness.compare import Comparison, Difference, Side, compare
from harness.differences import as_json, show_comparison
from harness.errors import HarnessError, NotComparable
from harness.journal import Journal
from harness.record import Machine, Record, Samples
from harness.samples import Gpu, PowerSources
from harness.sides import comparisons
from tests.harness.alike import Noise, cells, interleaved, queue, run

QUIET = Noise()
DRIFTING = Noise(drift=0.02)
STEADY = Noise(request=0.01, stalls=0.0)


def sides(a: Record, b: Record) -> tuple[Side, Side]:
    return Side("A", (a,)), Side("B", (b,))


def all_of(found: Comparison) -> list[Difference]:
    return [difference for cell in found.cells for difference in cell.differences]


def stored(folder: Path, record: Record) -> Path:
    with Journal(folder) as journal:
        journal.append(record.header, *record.subjects, *record.requests)
    return folder


def no_difference(noise: Noise, pairs: int) -> float:
    """The share of cells with no difference in seeded pairs of runs of the same thing."""
    found = [d for s in range(pairs) for d in all_of(compare(*sides(run(noise, 2 * s), run(noise, 2 * s + 1))))]
    return sum(d.word == "no difference" for d in found) / len(found)


def test_two_runs_of_the_same_thing_show_no_difference_in_94_of_100_cells() -> None:
    assert no_difference(QUIET, pairs=20) >= 0.94


@pytest.mark.slow
def test_two_runs_on_a_drifting_machine_show_no_difference_in_more_than_90_of_100_cells() -> None:
    # tests.benchmarks.comparing has the figure, of many more pairs; all cells of a pair have the same luck.
    assert no_difference(DRIFTING, pairs=100) >= 0.9


def test_a_run_slower_by_5_per_cent_is_found_with_the_repeats_of_the_default_budget() -> None:
    pairs = [sides(run(QUIET, 2 * seed), run(QUIET, 2 * seed + 1, slower=1.05)) for seed in range(12)]
    found = [d for pair in pairs for d in all_of(compare(*pair))]
    assert sum(d.word == "slower" for d in found) >= 0.8 * len(found)
    assert not any(d.word == "faster" for d in found)


def test_back_ends_that_alternated_in_one_run_are_paired_and_the_drift_of_the_machine_cancels() -> None:
    record = interleaved(Noise(drift=0.2, memory=2000.0, request=0.01, stalls=0.0), seed=3, slower=1.05, repeats=12)
    found = compare(Side("x", (record,), "x"), Side("y", (record,), "y"), anyway=True)
    assert {d.pairs for d in all_of(found)} == {12}
    assert {d.word for d in all_of(found)} == {"slower"}


def test_an_undecided_cell_says_how_many_more_repeats_would_decide_and_a_tight_one_does_not() -> None:
    loose = all_of(compare(*sides(run(Noise(request=0.1), 1, repeats=8), run(Noise(request=0.1), 2, repeats=8))))
    tight = all_of(compare(*sides(run(Noise(request=0.001, stalls=0), 1), run(Noise(request=0.001, stalls=0), 2))))
    assert all(d.more_repeats for d in loose if d.word == "no difference")
    assert not any(d.more_repeats for d in tight)


def test_three_repeats_a_side_have_no_interval_and_one_more_is_asked_for() -> None:
    found = all_of(compare(*sides(run(QUIET, 1, repeats=3), run(QUIET, 2, repeats=3))))
    assert {(d.word, d.ratio, d.more_repeats) for d in found} == {("too few", None, 1)}


def test_a_stretch_of_load_is_compared_by_blocks_from_the_instants_due_with_e2e() -> None:
    (cell,) = compare(*sides(queue(0.6, 1), queue(0.6, 2))).cells
    assert [d.metric for d in cell.differences] == ["TTFT", "TPOT", "E2E"]
    assert [d.repeats_a for d in cell.differences] == [1, 1, 1]
    assert all(d.ratio is not None for d in cell.differences)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine_version": "2"}, "engine build"),
        ({"system_info": "AVX512 = 1"}, "engine build"),
        ({"model": {"file_bytes": 2}}, "model file"),
    ],
)
def test_another_engine_build_or_model_file_is_refused_unless_told_to(change: dict[str, object], said: str) -> None:
    a, b = run(QUIET, 1, repeats=4), run(QUIET, 2, repeats=4)
    a = replace(a, subjects=(replace(a.subjects[0], system_info="AVX2 = 1", model={"file_bytes": 1}),))
    b = replace(b, subjects=(replace(a.subjects[0], **change),))  # type: ignore[arg-type]
    with pytest.raises(NotComparable, match=said) as refusal:
        compare(*sides(a, b))
    assert refusal.value.exit_status == 10
    assert said in compare(*sides(a, b), anyway=True).barring[0]


def test_another_machine_is_refused_and_another_option_is_named() -> None:
    a, b = run(QUIET, 1, repeats=4), run(QUIET, 2, repeats=4)
    b = replace(b, subjects=(replace(b.subjects[0], options={"threads": 4}),))
    a = replace(a, subjects=(replace(a.subjects[0], options={"threads": 2}),))
    assert "option threads: 2 | 4" in compare(*sides(a, b)).noted
    other = replace(b, header=replace(b.header, host=replace(b.header.host, cpu="Other CPU")))
    with pytest.raises(NotComparable, match="machine: Test CPU.*Other CPU"):
        compare(*sides(a, other))


def test_a_machine_with_a_gpu_and_one_without_are_not_the_same_and_one_that_does_not_tell_is_not_held_against() -> None:
    a, b = run(QUIET, 1, repeats=4), run(QUIET, 2, repeats=4)
    gpu = Gpu(0, "Fake H200", "580.65.06", 2**37, False, "instant", True)

    def sampled(record: Record, *gpus: Gpu) -> Record:
        return replace(record, samples=(Samples("0.0", (), 0.0, PowerSources(gpus, "" if gpus else NO_GPU_DRIVER)),))

    with pytest.raises(NotComparable, match=r"GPUs: Fake H200 \| none"):
        compare(*sides(sampled(a, gpu), sampled(b)))
    with pytest.raises(NotComparable, match=r"GPUs: Fake H200 \| Fake H200, Fake H200"):
        compare(*sides(sampled(a, gpu), sampled(b, gpu, gpu)))
    assert compare(*sides(sampled(a, gpu), b)).barring == ()
    assert compare(*sides(sampled(a, gpu), sampled(b, gpu))).barring == ()


def machine(record: Record, **told: object) -> Record:
    return replace(record, header=replace(record.header, machine=Machine(**told)))  # type: ignore[arg-type]


def test_other_flags_or_gpus_of_the_machine_bar_a_comparison_and_governor_driver_and_hypervisor_are_noted() -> None:
    a, b = run(QUIET, 1, repeats=4), run(QUIET, 2, repeats=4)
    gpu = Gpu(0, "Fake H200", "580.65.06", 2**37, False, "instant", True)
    with pytest.raises(NotComparable, match=r"CPU flags: avx2 avx512f \| avx2"):
        compare(*sides(machine(a, flags=("avx2", "avx512f")), machine(b, flags=("avx2",))))
    with pytest.raises(NotComparable, match=r"GPUs: Fake H200 \| none"):
        compare(*sides(machine(a, gpus=(gpu,)), machine(b, gpu_note=NO_GPU_LISTED)))
    assert compare(*sides(machine(a, flags=("avx2",), gpus=(gpu,)), b)).barring == (), "an old run does not tell"
    refused = machine(b, gpu_note="no permission to ask the NVIDIA driver")
    assert compare(*sides(machine(a, gpus=(gpu,)), refused)).barring == (), "whoever may not ask does not know"
    later = replace(gpu, driver="590.10")
    noted = compare(
        *sides(
            machine(a, governor="performance", virtualisation="none", gpus=(gpu,)),
            machine(b, governor="powersave", virtualisation="QEMU", gpus=(later,)),
        )
    ).noted
    assert "CPU governor: performance | powersave" in noted
    assert "virtualisation: none | QEMU" in noted
    assert "GPU driver: 580.65.06 | 590.10" in noted


def test_runs_of_several_models_are_compared_model_by_model_and_a_model_of_one_side_is_named() -> None:
    first, second = run(QUIET, 1, repeats=4), run(QUIET, 2, repeats=4)

    def named(record: Record, model: str) -> Record:
        requests = tuple(replace(r, cell=replace(r.cell, model=model), subject_id=model) for r in record.requests)
        engine = replace(record.subjects[0], model_name=model, subject_id=model, model={"file_bytes": len(model)})
        return replace(record, requests=requests, subjects=(engine,))

    short, long = named(first, "m"), named(second, "mm")
    both = replace(short, requests=(*short.requests, *long.requests), subjects=(*short.subjects, *long.subjects))
    again = replace(both, path="again")
    assert len(compare(*sides(both, again)).cells) == 8
    assert {cell.model for cell in compare(*sides(short, again)).only_b} == {"mm"}
    with pytest.raises(NotComparable, match=r"model: m Q8_0 \| mm Q8_0"):
        compare(*sides(short, long))
    assert len(compare(*sides(short, long), anyway=True).cells) == 4


def test_cells_of_one_side_only_are_named_and_nothing_in_common_is_refused() -> None:
    a, b = run(QUIET, 1, repeats=4), run(QUIET, 2, repeats=4)
    first, *_ = {r.cell for r in b.requests}
    less = replace(b, requests=tuple(r for r in b.requests if r.cell != first))
    assert compare(*sides(a, less)).only_a == (first,)
    with pytest.raises(NotComparable, match="no cell in common"):
        compare(*sides(a, replace(b, requests=())))


def test_the_table_fits_80_columns_and_json_holds_the_same(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", run(QUIET, 1)), stored(tmp_path / "b", run(QUIET, 2, slower=1.2))
    (found,) = comparisons(a, b, None, 0.05, anyway=False)
    out = StringIO()
    show_comparison(Console(file=out, width=80), found)
    table = [line for line in out.getvalue().splitlines() if "TPOT" in line or "TTFT" in line]
    assert len(table) == 8
    assert all("slower" in line and len(line) <= 80 for line in table)
    told = json.loads(json.dumps(as_json(found)))
    assert told["cells"][0]["differences"][0]["ratio"]["low"] > 1.05


def test_one_run_is_compared_by_its_back_ends_and_one_back_end_alone_is_refused(tmp_path: Path) -> None:
    both = stored(tmp_path / "both", interleaved(STEADY, 1, 1.2, repeats=8))
    (found,) = comparisons(both, None, "y,x", 0.05, anyway=False)
    assert {d.word for d in all_of(found)} == {"faster"}
    with pytest.raises(HarnessError, match="no back end 'z'"):
        comparisons(both, None, "x,z", 0.05, anyway=False)
    alone = stored(tmp_path / "alone", run(QUIET, 1, repeats=4))
    with pytest.raises(HarnessError, match="one back end only"):
        comparisons(alone, None, None, 0.05, anyway=False)
    with pytest.raises(HarnessError, match="a run in common"):
        comparisons(alone, alone, None, 0.05, anyway=False)


def test_a_run_is_itself_by_whatever_path_it_is_named_and_as_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = stored(tmp_path / "both", interleaved(STEADY, 1, 1.2, repeats=8))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(both)
    shutil.copytree(both, tmp_path / "copy")
    for name in (both, "link", "copy", "copy/journal.jsonl"):
        with pytest.raises(HarnessError, match="a run in common"):
            comparisons(Path("both"), Path(name), None, 0.05, anyway=True)
        (found,) = comparisons(Path("both"), Path(name), "x,y", 0.05, anyway=False)
        assert all(d.pairs for d in all_of(found))
    other = stored(tmp_path / "other", run(QUIET, 2, repeats=4))
    with pytest.raises(HarnessError, match="leave B out"):
        comparisons(both, other, "x,y", 0.05, anyway=False)


def test_a_run_that_stands_twice_in_a_folder_is_not_counted_twice(tmp_path: Path) -> None:
    stored(tmp_path / "a", run(QUIET, 1))
    stored(tmp_path / "b" / "first", run(QUIET, 2))
    shutil.copytree(tmp_path / "b" / "first", tmp_path / "b" / "copy")
    with pytest.raises(HarnessError, match="holds the run run-2 twice"):
        comparisons(tmp_path / "a", tmp_path / "b", None, 0.05, anyway=False)


def test_what_holds_for_all_comparisons_together_counts_those_that_have_an_interval() -> None:
    def cut(record: Record) -> Record:
        """Five repeats of one cell, three of the others."""
        kept = (r for r in record.requests if r.repeat < (5 if r.cell == cells()[0] else 3))
        return replace(record, requests=tuple(kept))

    a, b = cut(run(STEADY, 1, repeats=5)), cut(run(STEADY, 2, repeats=5, slower=2.0))
    found = compare(*sides(a, b))
    # Of five and five values the most extreme order comes by chance in 0.8 %: enough for two comparisons, not for 8.
    assert found.judged == 2
    assert [d.firm for d in all_of(found) if d.ratio is not None] == [True, True]
    assert not any(d.firm for d in all_of(found) if d.ratio is None)


@pytest.mark.parametrize(("together", "firm"), [(3, True), (4, False)])
def test_what_is_firm_would_come_by_chance_in_one_of_twenty_of_all_comparisons_together(
    together: int, firm: bool
) -> None:
    # Of five values a side the most extreme order comes by chance in 2 of 252 cases: 1 in 126. Each cell has two
    # comparisons: 0.05 / 6 is more than that, 0.05 / 8 is less.
    def side(seed: int, slower: float) -> Record:
        record = run(STEADY, seed, slower, repeats=5)
        return replace(record, requests=tuple(r for r in record.requests if r.cell in cells()[:together]))

    found = compare(*sides(side(1, 1.0), side(2, 2.0)))
    assert found.judged == 2 * together
    assert {(d.word, d.firm) for d in all_of(found)} == {("slower", firm)}
