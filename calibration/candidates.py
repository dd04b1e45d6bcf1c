"""What could be measured on a machine, what each cell would cost, and what a user may ask: models x types x shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from calibration.belief import Belief, terms_of
from calibration.errors import CalibrationError
from calibration.fitters import memory_of
from estimator.catalog import models
from estimator.coefficients import MemoryCoefficients
from estimator.specs import Model, ModelFile, Workload
from estimator.tensors import model_file
from estimator.theory.memory import memory_need
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES, repacked_bytes

# Weight types that people use; --quant says others.
QUANTS = ("Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
# Prompts and outputs that may be measured: whole and broken blocks of 16 rows, above and below a tile of 64 queries,
# one micro-batch; each without and with a context.
LENGTHS = ((24, 12), (48, 12), (64, 16), (160, 8), (512, 16))
DEPTHS = (0, 256, 1024, 2048)
# What may be asked: a turn of a chat, whose attention goes query by query, a page, some pages.
ASKED_PROMPTS, ASKED_OUTPUT, ASKED_DEPTHS = (32, 512, 2048), 128, (0, 1024, 4096)
REPEATS = 4
# Building writes random blocks, loading reads the file and repacks some types. Rates of the shipped reference's machine
# and 52 loads on it (medians: 0.2 GB/s where the types are repacked, 2 GB/s where they are not, a second besides).
BUILT_BYTES_PER_S, REPACKED_BYTES_PER_S, READ_BYTES_PER_S, START_S = 3e8, 2e8, 2e9, 1.0
_SPARE_BYTES = 512 * 2**20
# Of smaller weights a processor's cache may hold a good part: decode would not show what reading memory costs.
LEAST_WEIGHTS_BYTES = 256 * 2**20
# Of still rather small ones what each row costs beside its bytes is a third of a token: nobody wants them who may have
# others (DESIGN.md; two real runs that measured such files were 9 to 16 % off in decode on models of 1 to 3 B).
TELLING_WEIGHTS_BYTES, ENOUGH_MODELS = 384 * 2**20, 6


# Seconds to have a model file: 0 where it is there, infinite where there is no room for it.
BuildSeconds = Callable[[ModelFile], float]


@dataclass(frozen=True, slots=True)
class Cell:
    """One request shape with one model file; `repeats` requests of it."""

    file: ModelFile
    work: Workload
    repeats: int = REPEATS

    @property
    def label(self) -> str:
        """The cell in words."""
        w = self.work
        depth = f" at {w.depth_tokens}" if w.depth_tokens else ""
        return f"{self.file.model.name} {self.file.quant} {w.prompt_tokens}/{w.output_tokens}{depth}"


def usual_models() -> list[Model]:
    """The catalogue's dense models, one of each shape, smallest first: what is not a mixture and has no latent."""
    dense = sorted((m for m in models() if not m.experts and not m.kv_lora_rank), key=lambda m: m.parameters or 0)
    shapes: dict[tuple[object, ...], Model] = {}
    for m in dense:
        shapes.setdefault((m.layers, m.hidden, m.heads, m.kv_heads, m.ffn, m.vocabulary, m.key_length), m)
    return list(shapes.values())


def files_that_fit(
    wanted: Sequence[Model], quants: Sequence[str], memory_bytes: int, fitted: MemoryCoefficients | None
) -> list[ModelFile]:
    """Every model with every type that memory holds with its repacked copy and the longest cell, half a GiB to spare.

    Raises CalibrationError with status 5 where none is.
    """
    longest = Workload(512, 16, max(DEPTHS), len(DEPTHS), max(DEPTHS) + 768)
    found, least = [], float("inf")
    for model, quant in product(wanted, quants):
        file = model_file(model, quant)
        need = memory_of(fitted, file, longest) if fitted else memory_need(file, longest, X86_AVX2_REPACKED_TYPES)
        bytes_needed = need.total_bytes + _SPARE_BYTES
        least = min(least, bytes_needed)
        if bytes_needed <= memory_bytes:
            found.append(file)
    if not found:
        raise NoRoom(
            f"no model fits: the smallest of those asked needs {least / 2**30:.1f} GiB of memory and "
            f"{memory_bytes / 2**30:.1f} GiB are free: choose a smaller --model or --quant"
        )
    return found


class NoRoom(CalibrationError):
    """No candidate fits memory or disk."""

    exit_status = 5


def measurable(files: Iterable[ModelFile], repeats: int = REPEATS) -> list[Cell]:
    """Every shape of every file that is no small part of a cache, as far as its context goes."""
    works = [Workload(prompt, output, depth) for depth in DEPTHS for prompt, output in LENGTHS]
    large = [file for file in files if file.weight_bytes >= LEAST_WEIGHTS_BYTES]
    return [Cell(f, w, repeats) for f in large for w in works if w.longest_tokens <= f.model.context_tokens]


def telling(files: Sequence[ModelFile]) -> list[ModelFile]:
    """Those whose weights tell what reading memory costs, if they are of enough models; else all."""
    large = [file for file in files if file.weight_bytes >= TELLING_WEIGHTS_BYTES]
    return large if len({file.model.name for file in large}) >= ENOUGH_MODELS else list(files)


def questions(files: Iterable[ModelFile]) -> list[Cell]:
    """What may be asked of each file."""
    works = [Workload(p, ASKED_OUTPUT, d) for p in ASKED_PROMPTS for d in ASKED_DEPTHS]
    return [Cell(f, w) for f in files for w in works if w.longest_tokens <= f.model.context_tokens]


def cell_cost_s(believed: Belief, cell: Cell) -> float:
    """Context once (with a token after it), then `repeats` x (TTFT + (output - 1) x TPOT)."""
    visit = _visit_s(believed, cell.file, cell.work)
    prime = 0.0
    if cell.work.depth_tokens:
        prime = _visit_s(believed, cell.file, Workload(cell.work.depth_tokens + 1, 2))
    return prime + cell.repeats * visit


def _visit_s(believed: Belief, file: ModelFile, work: Workload) -> float:
    terms = terms_of(file, work)
    return believed.seconds(terms["prefill"]) + (work.output_tokens - 1) * believed.seconds(terms["decode"])


def fresh_build_s(file: ModelFile) -> float:
    """Seconds to build a weight-free file that is not there."""
    return file.weight_bytes / BUILT_BYTES_PER_S


def opening_cost_s(believed: Belief, file: ModelFile, build_s: BuildSeconds, repacked: frozenset[str]) -> float:
    """Building the file, loading it, and a warm-up."""
    again = repacked_bytes(file, repacked)
    load = START_S + again / REPACKED_BYTES_PER_S + (file.weight_bytes - again) / READ_BYTES_PER_S
    return build_s(file) + load + warmup_s(believed, file)


def warmup_s(believed: Belief, file: ModelFile) -> float:
    """A request of the shortest shape. A run counts it as one: it is paid from the budget for requests."""
    return _visit_s(believed, file, Workload(*LENGTHS[0]))
