"""False "fits" and refused true ones, over every configuration whose memory is known.

`python -m tests.benchmarks.fits` reads results/reference: the engine's dry runs, processes that were measured, and
buffers that others logged. For each the verdict's upper bound is held against the truth: a "yes" is false where the
truth is more than the bound. A true fit is refused where a machine has at least the truth and less than the bound:
the difference is by how many bytes; *refused of sizes* counts that over memories of 1 to 512 GiB in steps of a half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median, quantiles

from calibration.dataset import dataset
from calibration.fitting import REFERENCE
from estimator.coefficients import Coefficients, read_coefficients
from estimator.fits.choices import Question
from estimator.specs import Hardware, Workload
from estimator.tensors import model_file
from estimator.theory.buffers import pipeline_bytes
from estimator.theory.memory import device_need, memory_need
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES
from harness.journal import read_record
from tests.benchmarks.against import print_table, say
from tests.estimator.dry_run_table import stored
from tests.estimator.grid import Case
from tests.estimator.published import Logged, published

MIB, GIB = 2**20, 2**30
_ROOT = Path(__file__).parents[2] / "results" / "reference"
_NAMELESS = Hardware("any", 0, 0, None, None, "stated")
_DRIVER_BYTES = GIB // 2
Pair = tuple[int, int]


def bound_bytes(question: Question) -> int:
    """The upper bound that a verdict stands on: what must stay in memory."""
    return question.verdict().needed_bytes


def of_dry_runs(chosen: Callable[[Case], bool]) -> Iterator[Pair]:
    """Truth and bound of the stored dry runs: the engine's buffers, with weights or their repacked copy."""
    for case, said in stored():
        if chosen(case):
            file = model_file(case.model, case.mixture)
            need = memory_need(file, case.work, X86_AVX2_REPACKED_TYPES)
            buffers = said["kv"] + said["output"] + said["compute"]
            truth = buffers + need.repacked_bytes + need.hot_file_bytes
            yield truth, bound_bytes(Question(file, case.work, _NAMELESS))


def of_processes(coefficients: Coefficients | None) -> Iterator[Pair]:
    """Truth and bound of measured processes: peak anonymous memory, and the file's pages that every token reads."""
    records = (read_record(path) for path in sorted(_ROOT.rglob("*.jsonl")))
    for seen in dataset(records, include_noisy=True).memory:
        repacked = memory_need(seen.file, seen.work, X86_AVX2_REPACKED_TYPES).repacked_bytes
        truth = seen.anonymous_bytes + seen.file_bytes - min(repacked, seen.file.weight_bytes)
        yield truth, bound_bytes(Question(seen.file, seen.work, _NAMELESS, coefficients))


def of_gpus() -> Iterator[Pair]:
    """Truth and bound of the fullest GPU in logs of llama.cpp with all layers on one or several of them."""
    rows = [row for row in published() if row.engine == "llama.cpp"]
    for row in rows:
        if row.metric == "compute_buffer_bytes" and row.buffer in ("CUDA0", "Metal") and row.work is not None:
            yield from _gpu_pairs(row, row.work, rows)


def _gpu_pairs(row: Logged, work: Workload, rows: list[Logged]) -> Iterator[Pair]:
    devices = row.devices or 1
    alike = [other for other in rows if other.model == row.model and (other.devices or 1) == devices]
    held: dict[str, int] = {}
    for other in alike:
        same_work = other.work is None or other.work.context_tokens == work.context_tokens
        of_gpu = other.buffer.startswith(("CUDA", "Metal")) and other.buffer != "CUDA_Host"
        same_kind = other.buffer[:4] == row.buffer[:4]
        if of_gpu and same_kind and same_work and other.metric != "output_buffer_bytes":
            held[f"{other.buffer} {other.metric}"] = other.value_bytes
    truth = max(
        sum(size for name, size in held.items() if name.split()[0] == buffer)
        for buffer in {name.split()[0] for name in held}
    )
    file = model_file(row.model, row.quant)
    need = device_need(file, work, devices, shares_host_memory=row.buffer == "Metal")
    yield truth, need.largest_share_bytes + _DRIVER_BYTES


def of_forks_gpus() -> Iterator[Pair]:
    """Truth and bound of compute buffers of the catalogue's dense models that a fork of llama.cpp logged."""
    for row in published():
        dense = not row.model.experts and not row.model.kv_lora_rank
        if row.engine != "llama.cpp" and row.metric == "compute_buffer_bytes" and row.buffer == "CUDA0" and dense:
            predicted = row.predicted_bytes
            if predicted is not None and row.work is not None:
                yield row.value_bytes, predicted + pipeline_bytes(row.model, row.work) + _DRIVER_BYTES


def memories() -> list[int]:
    """1 to 512 GiB in steps of a half: 1, 1.5, 2, 3, 4, 6, ..."""
    return sorted(
        {size * GIB // 2 for power in range(1, 10) for size in (2**power, 3 * 2 ** (power - 1))} | {512 * GIB}
    )


def row_of(name: str, pairs: Iterable[Pair]) -> list[str]:
    """Counts and bytes of one kind of configuration."""
    known = list(pairs)
    over = sorted(bound - truth for truth, bound in known)
    false = sum(difference < 0 for difference in over)
    fits = refused = 0
    for truth, bound in known:
        fits += sum(truth <= free for free in memories())
        refused += sum(truth <= free < bound for free in memories())
    ninth = min(over[-1], quantiles(over, n=10)[-1]) if len(over) > 1 else over[-1]
    shares = sorted((bound - truth) / truth for truth, bound in known)
    sizes = [f"{value / MIB:,.0f}" for value in (over[0], median(over), ninth, over[-1])]
    return [name, str(len(known)), str(false), *sizes, f"{median(shares):.1%}", f"{refused} of {fits}"]


def rows() -> Iterator[list[str]]:
    """One row for each kind of configuration."""
    fitted = read_coefficients(REFERENCE)
    yield row_of(
        "dry runs, catalogue", of_dry_runs(lambda case: case.model.name.split("-")[0] not in ("odd", "new", "fresh"))
    )
    yield row_of("dry runs, odd shapes, seen", of_dry_runs(lambda case: case.model.name.startswith("odd-")))
    yield row_of("dry runs, odd shapes, new", of_dry_runs(lambda case: case.model.name.startswith("new-")))
    yield row_of("dry runs, odd shapes, fresh", of_dry_runs(lambda case: case.model.name.startswith("fresh-")))
    yield row_of("processes, not calibrated", of_processes(None))
    yield row_of("processes, calibrated", of_processes(fitted))
    yield row_of("GPUs, llama.cpp's logs", of_gpus())
    yield row_of("GPUs, a fork's compute buffers", of_forks_gpus())


def main() -> None:
    """Prints the table."""
    names = (
        "configurations", "n", "false fits", "least over, MiB", "median", "90 %", "most", "median share",
        "refused of sizes",
    )  # fmt: skip
    say("What a verdict counts with, less what was needed")
    print_table(names, list(rows()))


if __name__ == "__main__":
    main()
