"""The grid of configurations whose memory the engine's dry run is asked for, and the theory's answer to each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, product
from pathlib import Path

from estimator.catalog import find_model, models
from estimator.specs import Model, Workload
from estimator.tensors import MIXTURES, model_file
from estimator.theory.memory import MemoryNeed, memory_need
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES
from tests.estimator.dry_run import Options
from tests.estimator.header_only import write_header_only

_MIXTURES_OF_EXPERTS = ("mixtral", "qwen3:30b", "gpt-oss", "deepseek-v2", "deepseek-v3", "llama4:scout")
_SEED = 20261125


@dataclass(frozen=True)
class Case:
    """One question to the engine, and the theory's answer."""

    model: Model
    mixture: str
    work: Workload

    def options(self, folder: Path, alloc: bool) -> Options:
        path = folder / f"{self.model.name.replace(':', '-')}-{self.mixture}.gguf"
        if not path.exists():
            write_header_only(path, self.model, self.mixture)
        assert self.work.context_tokens is not None
        return Options(
            path=str(path),
            context=self.work.context_tokens * self.work.concurrency,
            parallel=self.work.concurrency,
            ubatch=self.work.ubatch_tokens,
            flash_attention=self.work.flash_attention,
            kv_type=self.work.kv_type,
            alloc=alloc,
        )

    def need(self) -> MemoryNeed:
        return memory_need(model_file(self.model, self.mixture), self.work, X86_AVX2_REPACKED_TYPES)


def _works() -> Iterator[Workload]:
    for context, flash, sequences in cycle(product((512, 2048, 4096, 8192), (True, False), (1, 2, 3, 4))):
        yield Workload(1, 1, context_tokens=context, flash_attention=flash, concurrency=sequences)


def grid() -> list[Case]:
    """A workload of the cycle for each catalogue model and mixture: every pairing of options occurs many times."""
    pairs = [(model, mixture) for model in models() for mixture in MIXTURES]
    found = [Case(model, mixture, work) for (model, mixture), work in zip(pairs, _works(), strict=False)]
    cached = Workload(1, 1, context_tokens=4096)
    found += [Case(model, "Q8_0", replace(cached, kv_type=kind)) for model in models() for kind in ("Q8_0", "Q4_0")]
    found += [
        Case(model, "Q8_0", replace(cached, ubatch_tokens=ubatch, context_tokens=context))
        for model in map(find_model, ("gemma2:2b", "phi3:mini", "qwen2.5:7b", "gemma3:4b", *_MIXTURES_OF_EXPERTS))
        for ubatch, context in ((64, 300), (128, 8192), (1024, 1000), (2048, 8192))
    ]
    return found


def odd_shapes(count: int, name: str = "odd") -> list[Case]:
    """Models that nobody made: llama shapes drawn at random, among them feed-forwards narrower than `hidden`."""
    draw = random.Random(f"{_SEED} {name}" if name != "odd" else _SEED)
    return [_odd_case(draw, f"{name}-{number}") for number in range(count)]


def _odd_case(draw: random.Random, name: str) -> Case:
    head, heads = draw.choice((64, 96, 128, 256)), draw.choice((4, 8, 12, 16, 32, 48, 64))
    hidden = 256 * draw.randint(1, 32)
    model = replace(
        find_model("mistral:7b"),
        names=(name,),
        layers=draw.randint(1, 48),
        hidden=hidden,
        heads=heads,
        kv_heads=draw.choice([kv for kv in (1, 2, 4, 8, heads) if heads % kv == 0]),
        key_length=head,
        value_length=head,
        ffn=256 * draw.randint(1, 96),
        vocabulary=draw.choice((32_000, 49_152, 128_256, 151_936, 262_144)),
        tied_embeddings=draw.random() < 0.5,
        parameters=None,
    )
    work = Workload(
        1,
        1,
        context_tokens=draw.choice((300, 512, 2048, 4096, 8192, 16_384, 32_768)),
        flash_attention=draw.random() < 0.7,
        concurrency=draw.choice((1, 1, 2, 3, 4, 8)),
        ubatch_tokens=draw.choice((64, 512, 512, 1024)),
    )
    work = replace(work, kv_type=draw.choice(("F16", "F16", "Q8_0", "Q4_0")) if work.flash_attention else "F16")
    return Case(model, draw.choice(("F16", "Q8_0", "Q4_0", "Q4_K_M")), work)
