"""The nouns of the estimator: frozen facts about models, tensors, hardware and work.

Here belong types without behaviour beyond arithmetic on their own fields. SI units; the unit is
the last word of a name. Nothing in here reads a file or a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Tensor:
    """One weight tensor: `shape` in GGUF order (fastest axis first), `quant_type` a GGML type name."""

    name: str
    shape: tuple[int, ...]
    quant_type: str

    @property
    def elements(self) -> int:
        product = 1
        for axis in self.shape:
            product *= axis
        return product


@dataclass(frozen=True, slots=True)
class Model:
    """The shape of a decoder-only transformer, as its published configuration states it.

    `key_length` and `value_length` are elements per head; `rope_length` of a key are rotated (0: all). `ffn` is
    the width of a dense feed-forward. `sliding_window_tokens` is the window of the layers whose index modulo
    `window_period` is not `window_period - 1` (Gemma 2: period 2, Gemma 3: 6); `None` where the engine attends
    over the whole context. `names` are the names that Ollama users write, the first is the canonical one.
    `published_bytes` maps a weight type to the size of a published GGUF file, where one is known.

    A mixture of experts has `experts` of width `expert_ffn` in each layer that `has_experts`, of which a token
    uses `experts_used`, and beside them one of width `shared_ffn` that every token uses (the shared experts in
    one); `expert_bias` says whether the choice has a correction term per expert (DeepSeek V3).

    With multi-head latent attention (DeepSeek) `kv_lora_rank` is the width of the latent that the cache keeps,
    `q_lora_rank` that of the queries' (0: none).
    """

    names: tuple[str, ...]
    title: str
    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    ffn: int
    vocabulary: int
    context_tokens: int
    tied_embeddings: bool
    source: str
    parameters: int | None = None
    sliding_window_tokens: int | None = None
    window_period: int = 1
    rope_theta: float = 10_000.0
    rope_length: int = 0
    rope_factors: bool = False
    norm_epsilon: float = 1e-5
    published_bytes: tuple[tuple[str, int], ...] = ()
    experts: int = 0
    experts_used: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0
    dense_layers: int = 0
    expert_period: int = 1
    expert_bias: bool = False
    kv_lora_rank: int = 0
    q_lora_rank: int = 0

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def rotated(self) -> int:
        """Elements of a key that carry its position."""
        return self.rope_length or self.key_length

    def has_experts(self, layer: int) -> bool:
        """Whether the feed-forward of `layer` is a mixture: after `dense_layers`, the last of each `expert_period`."""
        return self.experts > 0 and layer >= self.dense_layers and (layer + 1) % self.expert_period == 0

    @property
    def expert_layers(self) -> int:
        """How many layers are mixtures of experts: those that `has_experts` says."""
        periods = self.layers // self.expert_period - self.dense_layers // self.expert_period
        return periods * (self.experts > 0) * (self.dense_layers < self.layers)


HardwareKind = Literal["cpu", "gpu", "unified"]
Split = Literal["layer", "tensor"]


@dataclass(frozen=True, slots=True)
class Host:
    """The computer around a GPU, which takes the layers that stay off it; None where nobody said."""

    memory_free_bytes: int | None
    bandwidth_bytes_per_s: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the theory needs to know of a machine: one memory, one compute rate.

    `bandwidth_bytes_per_s` and `compute_flop_per_s` are `None` where nobody measured or stated
    them; `source` says which. `memory_free_bytes` is what can be used now; both sizes are `None` where
    only the kind of machine is known. A "gpu" has memory of its own, and `devices` of them share the layers:
    memory is of all together, the rates are of one; `host` is the computer around it, `link_bandwidth_bytes_per_s`
    what the way between it and each device carries. `disk_bytes_per_s` is the rate at which model files are read.
    `catalogued` hardware is not this machine, so nothing that was measured here holds for it; `assumptions` are the
    sentences that its answers stand on.
    """

    name: str
    memory_total_bytes: int | None
    memory_free_bytes: int | None
    bandwidth_bytes_per_s: float | None
    compute_flop_per_s: float | None
    source: str
    kind: HardwareKind = "cpu"
    devices: int = 1
    catalogued: bool = False
    assumptions: tuple[str, ...] = ()
    host: Host | None = None
    link_bandwidth_bytes_per_s: float | None = None
    disk_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """One request shape: `depth_tokens` already in the cache, then a prompt, then the output.

    `concurrency` such requests run at once, each in its own part of the cache: `context_tokens` is the
    room of one of them (Ollama's num_ctx; llama.cpp's n_ctx is that times `concurrency`), None for just
    enough. `ubatch_tokens` is the engine's micro-batch, `kv_type` the GGML type of keys and values. On a GPU with
    memory of its own, `gpu_layers` are the last layers, the head counted as one (llama.cpp's -ngl), None for all;
    `split` says whether several GPUs have whole layers or a part of each tensor.
    """

    prompt_tokens: int
    output_tokens: int
    depth_tokens: int = 0
    concurrency: int = 1
    context_tokens: int | None = None
    ubatch_tokens: int = 512
    flash_attention: bool = True
    kv_type: str = "F16"
    gpu_layers: int | None = None
    split: Split = "layer"

    @property
    def longest_tokens(self) -> int:
        """Tokens that one sequence holds when its last token has been written."""
        return self.depth_tokens + self.prompt_tokens + self.output_tokens

    @property
    def room_tokens(self) -> int:
        """Tokens that the cache of one sequence has room for: as stated, else just enough."""
        return self.longest_tokens if self.context_tokens is None else self.context_tokens


WeightRole = Literal["embedding", "head", "matrix", "latent", "expert", "vector"]


@dataclass(frozen=True, slots=True)
class WeightGroup:
    """Tensors of one role and one block type, added up.

    `embedding` is gathered (one row a token), `head` is multiplied once per output, `matrix` once per
    token, `latent` (a matrix a head that takes up the latent of DeepSeek's attention) likewise, of `expert`
    (all experts together) only the share that a token chooses, `vector` (norms, biases) is element-wise. A
    tied embedding is one group of role `head`.
    """

    role: WeightRole
    quant_type: str
    elements: int
    size_bytes: int
    tensors: int


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model with its weights typed: from the catalogue and a mixture, or from a GGUF header.

    `file_bytes` is the size of the model file, None where only the tensors are known; `layer_bytes` the size of
    each layer's tensors, empty where only sums are known.
    """

    model: Model
    quant: str
    groups: tuple[WeightGroup, ...]
    file_bytes: int | None = None
    layer_bytes: tuple[int, ...] = ()

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors, without the file's header."""
        return sum(group.size_bytes for group in self.groups)

    @property
    def parameters(self) -> int:
        """Elements of all weights: as the model states them, else as the groups add up."""
        return self.model.parameters or sum(group.elements for group in self.groups)
