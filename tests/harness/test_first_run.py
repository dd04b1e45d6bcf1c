"""What a run without options measures: the choice among stored plans is pure; the stored ones fit their class."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from calibration.belief import terms_of
from calibration.fitting import reference
from estimator.catalog import find_mixture, find_model
from estimator.specs import Workload
from estimator.tensors import model_file
from estimator.theory.bounds import bounded_need
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES
from harness.errors import HarnessError, NotBuilt, NotEnoughRoom
from harness.first_run import (
    PLANS,
    REFERENCE_MATMUL_FLOP_PER_S,
    REFERENCE_READ_BYTES_PER_S,
    StoredPlan,
    chosen,
    first_plan,
    machine_speed,
    stored_plans,
)
from harness.journal import Journal, Scribe, read_heads, read_record
from harness.metrics import known
from harness.opening import Lane, lanes
from harness.plan import Part, Plan, Shape, read_plan
from harness.purse import Purse
from harness.record import Probes
from harness.run import Means, Runner
from harness.target import Door
from harness.watch import Watcher
from harness.weights.store import Store
from tests.harness.making import counted, header

GIB = 2**30
ROOT = PLANS.parents[2]
STORED = stored_plans()


def like(read: float | None, multiplied: float | None) -> Probes:
    """A machine that reads and multiplies so many times as fast as the reference."""
    return Probes(
        None if read is None else read * REFERENCE_READ_BYTES_PER_S,
        None if multiplied is None else multiplied * REFERENCE_MATMUL_FLOP_PER_S,
        None, 0.0, 0.0, note="no probe",
    )  # fmt: skip


def classes() -> list[StoredPlan]:
    return [
        StoredPlan(speed, memory * GIB, Plan(budget_s=speed * 100 + memory))
        for speed in (1.0, 2.0, 4.0)
        for memory in (2, 12)
    ]


def test_a_machines_speed_is_the_mean_of_what_reading_and_multiplying_take() -> None:
    assert machine_speed(like(1, 1)) == pytest.approx(1)
    assert machine_speed(like(4, 4)) == pytest.approx(4)
    assert machine_speed(like(2, 1)) == pytest.approx(2 / 1.5)
    assert machine_speed(like(None, 1)) is None


def test_the_reference_is_what_the_probes_of_the_stored_campaign_say() -> None:
    heads = [read_heads(path).header.probes for path in (ROOT / "results/reference/epyc-7003-2-cores").rglob("*.jsonl")]
    read = median(known(head.read_bytes_per_s for head in heads))
    multiplied = median(known(head.matmul_flop_per_s for head in heads))
    assert (read, multiplied) == pytest.approx((REFERENCE_READ_BYTES_PER_S, REFERENCE_MATMUL_FLOP_PER_S), rel=0.01)


@pytest.mark.parametrize(
    ("speed", "free_gib", "taken"),
    [
        (1.0, 12, (1.0, 12)),
        (1.4, 12, (1.0, 12)),
        (1.5, 12, (2.0, 12)),
        (0.1, 12, (1.0, 12)),
        (99.0, 100, (4.0, 12)),
        (2.0, 11.9, (2.0, 2)),
    ],
)
def test_the_plan_is_for_the_most_memory_that_is_free_and_the_nearest_speed(
    speed: float, free_gib: float, taken: tuple[float, int]
) -> None:
    found = chosen(classes(), speed, round(free_gib * GIB), lambda _: 0)
    assert found is not None
    assert (found.speed, found.memory_bytes) == (taken[0], taken[1] * GIB)


def test_where_the_disk_is_too_small_for_all_files_of_a_plan_one_for_less_memory_is_taken() -> None:
    found = chosen(classes(), 1.0, 12 * GIB, lambda plan: 1 if plan.budget_s == 112 else 0)
    assert found is not None
    assert found.memory_bytes == 2 * GIB


def test_no_plan_is_taken_that_does_not_fit_and_the_line_says_what_the_least_needs(tmp_path: Path) -> None:
    assert chosen(classes(), 1.0, GIB, lambda _: 0) is None
    assert chosen(classes(), 1.0, 12 * GIB, lambda _: 1) is None
    plan, why = first_plan(like(1, 1), 2**20, Store(tmp_path, lambda _: 10**12))
    assert plan is None
    assert re.match(r"no stored plan fits: the least takes \S+ GiB of memory and \d+\.\d GB of disk, and 0\.0 GiB", why)
    assert first_plan(like(None, 1), 2**40, Store(tmp_path))[1].endswith("could not be probed (no probe)")


def test_the_line_says_which_class_and_why_and_what_it_takes_of_the_disk(tmp_path: Path) -> None:
    part = Part("tinyllama", "Q8_0", (Shape(16, 4), Shape(32, 4)), 30.0)
    listed = [StoredPlan(2.0, 3 * GIB, Plan(parts=(part,)))]
    plan, why = first_plan(like(1.7, 1.7), 5 * GIB, Store(tmp_path, lambda _: 20 * 10**9), listed)
    assert plan == listed[0].plan
    assert why == (
        "planned: 2 cells of 1 model files, for machines 2 times as fast as the reference (the probes say 1.7) with "
        "3 GiB of memory (5.0 are free); 1.2 GB of them to build (19.7 GB of disk are free)"
    )


@pytest.mark.parametrize("entry", STORED, ids=lambda entry: f"{entry.speed:g}x-{entry.memory_bytes / GIB:g}GiB")
def test_every_stored_plan_fits_the_memory_of_its_class_by_the_upper_bound(entry: StoredPlan) -> None:
    for part in entry.plan.parts:
        file = model_file(find_model(part.model), find_mixture(part.quant))
        longest = max(shape.longest_tokens for shape in part.shapes)
        slots = 1 + len({shape.depth_tokens for shape in part.shapes} - {0})
        prompt = max(shape.prompt_tokens for shape in part.shapes)
        work = Workload(prompt, 2, 0, slots, -(-longest // 256) * 256)
        need = bounded_need(file, work, X86_AVX2_REPACKED_TYPES)
        assert need.anonymous_bytes + need.hot_file_bytes <= entry.memory_bytes, part


def test_there_is_a_plan_for_every_class_of_speed_and_memory() -> None:
    speeds, memories = ({getattr(entry, name) for entry in STORED} for name in ("speed", "memory_bytes"))
    assert len(STORED) == len(speeds) * len(memories)
    assert speeds == {0.5, 1, 2, 4, 8, 16}
    assert memories == {2 * GIB, 4 * GIB, 10 * GIB}


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_stored_plan_says_for_which_class_it_was_made_and_measures_five_models(path: Path) -> None:
    command = re.findall(r"# Made by: python -m calibration plan (.*)", path.read_text("utf-8"))[0]
    words = shlex.split(command)
    told = dict(zip(words[::2], words[1::2], strict=True))
    assert path.stem == f"{told['--speed']}x-{told['--memory']}"
    parts = read_plan(path).parts
    assert len({part.model for part in parts}) >= 5, "what an interval of its own takes"
    with_mistral = [part for part in parts if part.model == "mistral:7b"]
    assert [len(part.shapes) >= 2 for part in with_mistral] == [True] * ("--include" in told)


@pytest.mark.parametrize("entry", STORED, ids=lambda entry: f"{entry.speed:g}x-{entry.memory_bytes / GIB:g}GiB")
def test_each_of_five_models_of_a_stored_plan_can_be_predicted_from_the_others_and_the_prior(entry: StoredPlan) -> None:
    prior = reference()
    assert prior is not None
    terms: dict[tuple[str, str], list[set[str]]] = {}
    for part in entry.plan.parts:
        file = model_file(find_model(part.model), find_mixture(part.quant))
        for shape in part.shapes:
            work = Workload(shape.prompt_tokens, shape.output_tokens, shape.depth_tokens)
            for phase, found in terms_of(file, work).items():
                terms.setdefault((part.model, phase), []).append(set(found))
    for (model, times), cells in terms.items():
        others = [names for (other, _), listed in terms.items() if other != model for names in listed]
        known = set(prior.speed).union(*others)
        assert [cell for cell in cells if cell <= known], (model, times)


@pytest.mark.slow
@pytest.mark.parametrize("lack", [NotEnoughRoom, NotBuilt])
def test_the_parts_of_a_stored_plan_are_measured_and_one_without_room_is_named_while_the_others_go_on(
    tmp_path: Path, lack: type[HarnessError]
) -> None:
    entry = min(STORED, key=lambda entry: (entry.memory_bytes, entry.speed))
    plan = replace(entry.plan, backends=("simulated",), parts=entry.plan.parts[:3], repeats=1)
    door, heard = Door(law='{"prefill_s_per_token": 0.00001, "decode_s_per_token": 0.001}'), Heard()
    groups = lanes(plan, door)

    async def room(lane: Lane) -> None:
        if lane.part == plan.parts[1]:
            raise lack(f"{lane.target.name} needs more than there is")

    async def measure() -> None:
        with Journal(tmp_path) as journal:
            journal.append(header())
            past = read_record(tmp_path)
            with Scribe(journal) as scribe:
                means = Means(scribe, heard, time.perf_counter_ns, Purse(None), {}, room=room)
                await Runner(plan, groups, door, past, means).run()

    asyncio.run(measure())
    found = [
        (cell.model, cell.quant, cell.prompt_tokens, cell.depth_tokens) for _, cell in counted(read_record(tmp_path))
    ]
    asked = [(p.model, p.quant, s.prompt_tokens, s.depth_tokens) for p in plan.parts[::2] for s in p.shapes]
    assert sorted(found) == sorted(asked)
    assert heard.notes == [f"not measured: {plan.parts[1].model} needs more than there is"]
    assert read_record(tmp_path).ends[-1].reason == "done"


class Heard(Watcher):
    """Keeps what the user should read."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.slow
@pytest.mark.engine
def test_a_run_without_options_says_what_it_measures_and_why_and_ctrl_c_leaves_a_run_to_resume(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "--seed", "2"], cwd=tmp_path, text=True, stderr=subprocess.PIPE,
        env=os.environ | {"YARDSTICK_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert running.stderr is not None
    said = []
    for line in running.stderr:
        said.append(line)
        if line.startswith(("building", "loading")):
            running.terminate()
            break
    rest = running.communicate(timeout=60)[1]
    assert running.returncode == 130, said
    assert [line for line in said if line.startswith(("planned: ", "no stored plan fits: "))]
    (folder,) = (tmp_path / "results/local").iterdir()
    assert f"--resume results/local/{folder.name}" in rest
    assert list((tmp_path / "cache/models").glob(".*.part")) == []
    if said[0].startswith("planned: "):
        resumed, parts = read_record(folder).header.settings["plan"], said[0].split()[4]
        assert len(resumed["parts"]) == int(parts)
