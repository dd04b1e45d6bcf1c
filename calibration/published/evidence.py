"""What is left out to see how far to believe the reference: machines, models, weight types, sources, terms.

Every error is of rows that the fit had not seen; contexts up to 1,024 tokens, dense models and one device, unless a
line says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.published.baselines import LINES, held_out_s, is_one_recent_model, log_linear
from calibration.published.building import PARTS, Built, Part
from calibration.published.choosing import LENGTHS, Key, choose, everywhere
from calibration.published.fitting import (
    Array,
    Samples,
    Settings,
    family_of,
    fit_physics,
    fit_residual,
    kernels_of,
    samples_of,
)
from calibration.published.learning import learning_table
from calibration.published.rows import Row
from calibration.published.tables import GPUS, PHASES, Errors, Table, errors_of, errors_table
from estimator.reference.amounts import FEATURES

_LEFT_OUT: dict[str, Key] = {
    "model (by shape)": lambda row: row.file.model.name if row.file else "",
    "weight type": lambda row: row.quant,
    "source": lambda row: row.source,
    "family of machines": family_of,
}
# What the residual may know, by what it is about.
_FEATURES = {
    "the machine's rates": ("log_bandwidth", "log_compute", "log_fp32", "no_matrix_units"),
    "model and context": ("log_flop_per_token", "log_tokens"),
    "build and flags": ("build_year", "flash_attention", "single_run"),
    "weight types": ("share_16bit", "share_8bit", "share_k", "share_plain"),
}
Piece = tuple[Sequence[Row], Array, Array]


def machine_table(found: Built) -> Table:
    """Machines left out of everything: all GPUs, each back end, CPUs apart."""
    entries = []
    for phase in PHASES:
        rows, seconds, covered = _short(found, phase)
        for label, back_ends in (("GPUs and Metal", GPUS), *((name, (name,)) for name in (*GPUS, "CPU"))):
            here = np.array([row.back_end in back_ends for row in rows])
            entries.append(_entry(label, phase, (rows, seconds, covered), here))
    return errors_table("Each machine left out", entries, _coverage_notes(found))


def _coverage_notes(found: Built) -> list[str]:
    """Coverage over all contexts, by rows and by machine x model, and how wide the intervals are."""
    notes = []
    for phase in PHASES:
        cells: dict[str, list[float]] = {}
        widths = []
        for part in (entry for (_, other), entry in found.parts.items() if other == phase):
            nested = part.nested
            for i in np.flatnonzero(~np.isnan(nested.covered)):
                row = part.samples.rows[i]
                cells.setdefault(f"{row.machine_name} {row.back_end} {row.model_name}", []).append(nested.covered[i])
                widths.append(np.exp(nested.reach[i] * (1 + nested.held.distance[i])) - 1)
        rows = [value for values in cells.values() for value in values]
        notes.append(
            f"{phase}: 90 % intervals held {np.mean(rows):.1%} of {len(rows)} rows of all contexts, "
            f"{np.mean([np.mean(values) for values in cells.values()]):.1%} of {len(cells)} machines x models "
            f"(each the same weight); at the median they reach +-{np.median(widths):.0%}"
        )
    return notes


def group_table(found: Built) -> Table:
    """The same by back end and family of machines."""
    entries = []
    for phase in PHASES:
        rows, seconds, covered = _short(found, phase)
        names = [f"{row.back_end}, {family_of(row)}" for row in rows]
        for label in sorted(set(names)):
            entries.append(_entry(label, phase, (rows, seconds, covered), np.array([name == label for name in names])))
    return errors_table("By back end and family, each machine left out", sorted(entries, key=lambda entry: entry.label))


def baseline_table(found: Built) -> Table:
    """The simpler models on the same rows, all GPUs and each back end; and the easiest line on its own rows."""
    entries: list[Errors] = []
    for phase in PHASES:
        rows, seconds, _ = _short(found, phase)
        lines = {name: held_out_s(rows, predictor) for name, predictor in LINES.items()}
        for label, back_ends in (("GPUs and Metal", GPUS), *((name, (name,)) for name in (*GPUS, "CPU"))):
            here = np.array([row.back_end in back_ends for row in rows])
            for name, predicted in (lines | {"the reference": seconds}).items():
                entries.append(_entry(f"{label}: {name}", phase, (rows, predicted, None), here))
        easy = np.array([is_one_recent_model(row) for row in rows])
        few = [row for row, chosen in zip(rows, easy, strict=True) if chosen]
        label = "Llama 2 7B Q4_0, CUDA since Turing: "
        entries.append(errors_of(f"{label}log-linear", phase, few, held_out_s(few, log_linear)))
        entries.append(errors_of(f"{label}the reference", phase, few, seconds[easy]))
    return errors_table("Simpler models, each machine left out, the same rows", entries)


def left_out_table(found: Built) -> Table:
    """Models, weight types, sources, families left out; then what is outside of the tables: depth, experts."""
    entries = []
    for phase in PHASES:
        parts = [found.parts[group, phase] for group in ("discrete", "Metal")]
        for name, key in _LEFT_OUT.items():
            pieces = [_piece(part, _each_left_out(part.samples, key), part.short) for part in parts]
            entries.append(_joined(name, phase, pieces))
        long = [_piece(part, part.nested.held.seconds, ~part.short) for part in parts]
        entries.append(_joined("machine; contexts over 1,024 tokens", phase, long))
        entries.append(_joined("machine, and all mixtures of experts: of these", phase, _mixtures(found, phase)))
    notes = ("Settings of the residual are chosen anew inside of what is left, by folds of its machines.",)
    return errors_table("GPUs and Metal, other things left out", entries, notes)


def _each_left_out(samples: Samples, key: Key) -> Array:
    """Seconds of every row by the fit, and the choice of settings, to the rows with another `key`."""
    keys = np.array([key(row) for row in samples.rows])
    seconds = np.full(len(keys), np.nan)
    for value in sorted(set(keys)):
        used, asked = np.flatnonzero(keys != value), np.flatnonzero(keys == value)
        if len({samples.rows[i].machine_name for i in used}) > 1:
            chosen, _ = choose(samples, used)
            seconds[asked] = fit_residual(samples, fit_physics(samples, used), chosen).seconds(samples, asked)
    return seconds


def _mixtures(found: Built, phase: str) -> list[Piece]:
    """Mixtures predicted by the fit to the dense models of other machines, with the settings that are shipped."""
    pieces: list[Piece] = []
    for group in ("discrete", "Metal"):
        both = samples_of(group, phase, [*found.gate.kept, *found.gate.mixtures], LENGTHS)
        experts = np.array([bool(row.file and row.file.model.experts) for row in both.rows])
        names = np.array([row.machine_name for row in both.rows])
        seconds = np.full(len(names), np.nan)
        for name in sorted(set(names[experts])):
            asked = np.flatnonzero(experts & (names == name))
            physics = fit_physics(both, np.flatnonzero(~experts & (names != name)))
            chosen = found.parts[group, phase].chosen
            seconds[asked] = fit_residual(both, physics, chosen).seconds(both, asked)
        pieces.append((both.rows, seconds, experts.astype(float)))
    return pieces


def ablation_table(found: Built) -> Table:
    """The error without each term, without the residual, and with a residual that knows less; machines left out."""
    entries = []
    for phase in PHASES:
        parts = [found.parts[group, phase] for group in ("discrete", "Metal")]
        terms = sorted({name.partition(".")[0] for part in parts for name in part.samples.terms})
        whole, less = ([_without(part, ()) for part in parts], {t: [_without(p, (t,)) for p in parts] for t in terms})
        entries.append(_joined("whole", phase, whole))
        entries.append(
            _joined("no residual: physics alone", phase, [_without(part, (), Settings(None)) for part in parts])
        )
        entries += [_joined(f"no term {term}", phase, pieces) for term, pieces in less.items()]
        for term in terms:
            alone = [_without(part, (term,), Settings(None)) for part in parts]
            entries.append(_joined(f"physics alone, no term {term}", phase, alone))
        grow = {f"no term {term}": less[term] for term in ("cache", "attention") if term in less}
        for label, pieces in {"whole": whole, **grow}.items():
            long = [_long(part, piece) for part, piece in zip(parts, pieces, strict=True)]
            entries.append(_joined(f"contexts over 1,024: {label}", phase, long))
        for label, features in _FEATURES.items():
            blind = [_blind(part, features) for part in parts]
            entries.append(_joined(f"residual without {label}", phase, [_without(part, ()) for part in blind]))
    note = "Settings of the residual as shipped, so the first line differs a little from the nested error above."
    return errors_table("GPUs and Metal, each machine left out: ablation", entries, (note,))


def _without(part: Part, dropped: tuple[str, ...], settings: Settings | None = None) -> Piece:
    """The part's rows predicted, machines left out, without the terms `dropped`; none where it never had them."""
    samples = part.samples
    kept = [name for name in samples.terms if name.partition(".")[0] not in dropped]
    if not kept or (dropped and len(kept) == len(samples.terms)):
        return [], np.zeros(0), np.zeros(0)
    chosen = everywhere(samples, settings) if settings else part.chosen
    names = np.array([row.machine_name for row in samples.rows])
    seconds = np.full(len(names), np.nan)
    for name in samples.machines:
        physics = fit_physics(samples, np.flatnonzero(names != name), frozenset(dropped))
        asked = np.flatnonzero(names == name)
        seconds[asked] = fit_residual(samples, physics, chosen).seconds(samples, asked)
    return _piece(part, seconds, part.short)


def _long(part: Part, piece: Piece) -> Piece:
    """The piece's rows of contexts over 1,024 tokens instead."""
    rows, seconds, _ = piece
    return _piece(part, seconds, ~part.short) if len(rows) else piece


def _blind(part: Part, features: tuple[str, ...]) -> Part:
    """The part with a residual that does not see `features`."""
    samples = part.samples
    seen = [index for index, name in enumerate(FEATURES) if name not in features]
    return replace(part, samples=replace(samples, kernels=kernels_of(samples.at[:, seen], samples.rows, LENGTHS)))


def _short(found: Built, phase: str) -> tuple[list[Row], Array, Array]:
    """The rows of short context of all parts, their nested held-out seconds, and whether intervals held them."""
    rows: list[Row] = []
    pieces: list[tuple[Array, Array]] = []
    for part in (found.parts[key] for key in PARTS if key[1] == phase):
        chosen = np.flatnonzero(part.short)
        rows += [part.samples.rows[i] for i in chosen]
        pieces.append((part.nested.held.seconds[chosen], part.nested.covered[chosen]))
    seconds, covered = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    return rows, seconds, covered


def _entry(label: str, phase: str, piece: tuple[Sequence[Row], Array, Array | None], here: Array) -> Errors:
    rows, seconds, covered = piece
    chosen = np.flatnonzero(here).tolist()
    held = None if covered is None else covered[chosen]
    return errors_of(label, phase, [rows[i] for i in chosen], seconds[chosen], held)


def _piece(part: Part, seconds: Array, chosen: NDArray[np.bool_]) -> Piece:
    return part.samples.rows, seconds, chosen.astype(float)


def _joined(label: str, phase: str, pieces: Sequence[Piece]) -> Errors:
    """One line of several groups; the last array of a piece says which of its rows count."""
    rows = [row for some, _, chosen in pieces for row, here in zip(some, chosen, strict=True) if here]
    seconds = np.concatenate([values[chosen > 0] for _, values, chosen in pieces])
    return errors_of(label, phase, rows, seconds)


TABLES: tuple[Callable[[Built], Table], ...] = (
    machine_table,
    lambda found: learning_table(found.moved),
    group_table,
    baseline_table,
    left_out_table,
    ablation_table,
)
