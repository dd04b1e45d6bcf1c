"""Memory of Mistral 7B by other calculators beside the engine's dry run: `python -m tests.benchmarks.calculators`.

    python -m tests.benchmarks.calculators [PYTHON [GGUF_PARSER]]

PYTHON is that of an environment with genz-llm and llm-x-py, GGUF_PARSER a program that prints gguf-parser-go's
estimate for FILE CONTEXT as JSON (docs/accuracy.md has its lines). The truth is weights + KV cache + compute and output
buffers as the embedded engine plans them, on one CPU, 512 rows, one request. Rules that the source states are computed
here: the textbook's, and Ollama's for a model that is on a GPU as a whole (fs/ggml/ggml.go, GraphSize).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from estimator.catalog import find_model
from estimator.fits.choices import Question
from estimator.specs import Hardware, Workload
from estimator.tensors import model_file
from estimator.theory import textbook
from estimator.theory.kv_cache import kv_cache_bytes
from estimator.theory.memory import device_need, memory_need
from tests.benchmarks.against import print_table, say
from tests.estimator.dry_run import dry_runs
from tests.estimator.grid import Case

MIB = 2**20
MODEL = find_model("mistral:7b")
_ROWS = 512
_NAMELESS = Hardware("any", 0, 0, None, None, "stated")
_GENZ = """
import sys
from GenZ.LLM_inference.llm_decode import *
rates = {"Flops": 320, "Memory_size": 80, "Memory_BW": 2000, "ICN": 300, "real_values": True}
system = get_inference_system(system_name=rates, bits=sys.argv[1], ceff=1, meff=1)
model = create_full_decode_model(name="mistralai/Mistral-7B", input_sequence_length=int(sys.argv[2]),
    output_gen_tokens=0, tensor_parallel=1, pipeline_parallel=1, expert_parallel=1)
frame = get_model_df(model, system=system, batch_size=1, intermediate_on_chip=True, beam_merge=False, beam_size=1,
    model_characterstics=True)
table = get_summary_table(frame, unit, model_characterstics=True)
print("MIB", table["Total Weights (MB)"].values[0] + table["KV Cache (MB)"].values[0])
"""
_LLM_X = """
import sys
from llm_x.estimation.kv_cache import estimate_kv_cache
shape = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "intermediate_size": 14336}
tensors = {"model.embed_tokens.weight": [32000, 4096], "lm_head.weight": [32000, 4096]}
for layer in range(32):
    for name, rows in (("q", 4096), ("k", 1024), ("v", 1024), ("o", 4096)):
        tensors[f"model.layers.{layer}.self_attn.{name}_proj.weight"] = [rows, 4096]
    for name, axes in (("gate", [14336, 4096]), ("up", [14336, 4096]), ("down", [4096, 14336])):
        tensors[f"model.layers.{layer}.mlp.{name}_proj.weight"] = axes
metadata = {name: {"shape": axes, "dtype": "F16", "data_offsets": [0, 1]} for name, axes in tensors.items()}
cache, _, activations = estimate_kv_cache(metadata, shape, seq_len=int(sys.argv[2]), kv_dtype="F16")
print("MIB", 7241732096 * float(sys.argv[1]) / 8 / 2**20 + (cache + activations) * 1024)
"""


def ollama_bytes(weights: int, work: Workload) -> int:
    """weights + KV cache + max(4·n·(1 + 4·hidden + context·(1 + heads)), 4·n·(hidden + vocabulary)), in bytes."""
    context = work.room_tokens
    graph = max(
        4 * _ROWS * (1 + 4 * MODEL.hidden + context * (1 + MODEL.heads)),
        4 * _ROWS * (MODEL.hidden + MODEL.vocabulary),
    )
    return weights + kv_cache_bytes(MODEL, work) + graph


def told(python: str, script: str, *arguments: str) -> int:
    """Bytes that a script prints as MiB in an environment of its own."""
    done = subprocess.run(
        [python, "-W", "ignore", "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    return round(float(done.stdout.split("MIB")[1].split()[0]) * MIB)


def gguf_parser_bytes(program: str, path: str, context: int, flash: bool) -> int:
    """What gguf-parser-go says for a model that is on the CPU as a whole: weights, KV cache and computation."""
    command = [program, path, str(context), "fa" if flash else "off", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum(
        sum(_numbers(device[part]))
        for device in json.loads(done.stdout)["devices"]
        for part in ("weight", "kvCache", "computation")
    )


def _numbers(part: object) -> Iterator[int]:
    if isinstance(part, dict):
        for value in part.values():
            yield from _numbers(value)
    elif isinstance(part, int | float):
        yield int(part)


def row(quant: str, case: Case, said: dict[str, float], others: tuple[str | None, str | None, str]) -> list[str]:
    """One configuration: the truth in MiB, then each calculator's difference to it."""
    python, parser, path = others
    file, work = model_file(MODEL, quant), case.work
    context = work.context_tokens or 0
    truth = file.weight_bytes + said["kv"] + said["compute"] + said["output"]
    precision = "FP16" if quant == "F16" else "INT4"
    weights = textbook.model_bytes(7_241_732_096, precision)
    bits = {"F16": ("bf16", "16"), "Q4_K_M": ("int4", "4.5")}[quant]
    need = memory_need(file, work, frozenset())
    found = {
        "textbook": textbook.total_bytes(weights, textbook.kv_bytes(MODEL, context)),
        "Ollama's rule": ollama_bytes(file.weight_bytes, work),
        "genz-llm": None if python is None else told(python, _GENZ, bits[0], str(context)),
        "llm-x-py": None if python is None else told(python, _LLM_X, bits[1], str(context)),
        "gguf-parser": None if parser is None else gguf_parser_bytes(parser, path, context, work.flash_attention),
        "ours": need.total_bytes,
        "ours, GPU": device_need(file, work, 1, shares_host_memory=True).total_bytes,
        "ours, fits": Question(file, work, _NAMELESS).verdict().needed_bytes,
    }
    flash = "on" if work.flash_attention else "off"
    differences = ["-" if value is None else _difference(value, truth) for value in found.values()]
    return [quant, f"{context:,}", flash, f"{truth / MIB:,.0f}", *differences]


def _difference(value: float, truth: float) -> str:
    return f"{(value - truth) / MIB:+,.0f} ({value / truth - 1:+.1%})"


def main() -> None:
    """Prints the table."""
    python, parser = ((*sys.argv[1:], None, None))[:2]
    cases = [
        Case(MODEL, quant, Workload(1, 1, context_tokens=context, flash_attention=flash))
        for quant in ("F16", "Q4_K_M")
        for context in (2048, 8192)
        for flash in (True, False)
    ]
    with tempfile.TemporaryDirectory() as folder:
        options = [case.options(Path(folder), alloc=False) for case in cases]
        answers = dry_runs(options)
        rows = [
            row(case.mixture, case, said, (python, parser, option["path"]))
            for case, said, option in zip(cases, answers, options, strict=True)
        ]
    say("Mistral 7B, one request: MiB by the engine's dry run, and how far off each calculator is")
    names = ("textbook", "Ollama's rule", "genz-llm", "llm-x-py", "gguf-parser", "ours", "ours, GPU", "ours, fits")
    print_table(("type", "context", "flash", "truth", *names), rows)


if __name__ == "__main__":
    main()
