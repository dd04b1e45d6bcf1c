"""Published rows made by hand for tests."""

from __future__ import annotations

from dataclasses import replace

from calibration.published.rows import Row
from estimator import catalog
from estimator.reference.machine import Machine
from estimator.specs import Workload
from estimator.tensors import model_file

MACHINE = Machine("A card", "CUDA", "NVIDIA", "Ampere", 1e12, 1e14, 2e13, matrix_units=True)
MODEL = catalog.find_model("llama2:7b")


def row(
    phase: str = "decode", quant: str = "Q4_0", tokens_per_s: float = 100.0, machine: Machine | None = MACHINE
) -> Row:
    """Llama 2 7B on a card with 1 TB/s."""
    work = Workload(prompt_tokens=512 if phase == "prefill" else 1, output_tokens=1 if phase == "prefill" else 128)
    return Row(
        number=2,
        source="a page",
        engine="llama.cpp (llama-bench)",
        build_year=2025.0,
        machine_name=machine.name if machine else "?",
        machine=machine,
        memory_bytes=None,
        model_name="Llama-2-7B",
        quant=quant,
        file=model_file(MODEL, quant),
        back_end=machine.back_end if machine else "CUDA",
        phase=phase,
        work=work,
        threads=None,
        tokens_per_s=tokens_per_s,
    )


def on(name: str, base: Row) -> Row:
    """The same on another machine with the same figures."""
    assert base.machine is not None
    return replace(base, machine_name=name, machine=replace(base.machine, name=name))
