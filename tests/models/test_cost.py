"""Counts from the meta-device build against closed forms, for every family."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from canonlab.models.config import ModelConfig
from canonlab.models.cost import Cost, cost, parameters_without_embedding
from canonlab.models.decoder import Decoder, tensors_of
from canonlab.models.moe import MoE
from canonlab.models.sizes import Size

V, CONTEXT = 109, 64
KERNEL = 4
SIZES = ("8L512D", "12L768D", "2-1", "3-10")


def of(model: str, size: str = "1L512D", canon: str = "original", **settings: object) -> Cost:
    return cost(ModelConfig(model, size, canon, **settings).decoder(V), CONTEXT)  # type: ignore[arg-type]


def gated(d: int) -> int:
    """Inner width of the Llama MLP: 8d/3, rounded up to a multiple of 32."""
    return {512: 1376, 768: 2048, 64: 192, 640: 1728}[d]


def llama(d: int) -> int:
    return 4 * d**2 + 3 * d * gated(d) + 2 * d


def gpt2(d: int) -> int:
    return 4 * d**2 + 2 * d * 4 * d + 2 * d


def gpt2_original(d: int) -> int:
    biases = 4 * d + 4 * d + d
    return gpt2(d) + biases + 2 * d


def gla(d: int) -> int:
    keys, rank, heads = d // 2, 16, 4
    decay = d * rank + rank * keys + keys
    mixer = d * (2 * keys + d) + decay + d * d + d // heads + d * d  # q k v, decay, gate, norm of a head, out
    return mixer + 3 * d * gated(d) + 2 * d


def gla5(d: int) -> int:
    rank, heads = 16, {512: 4, 768: 6, 64: 1, 640: 5}[d]
    decay, gate = d * rank + rank * d + d, d * rank + rank * 2 * d + 2 * d
    mixer = d * 4 * d + KERNEL * 4 * d + decay + gate + 2 * d // heads + 2 * d * d
    return mixer + 3 * d * 2 * d + 2 * d


def mamba2(d: int) -> int:
    state, heads = 64, 16
    mixed = 2 * d + 2 * state
    projections = d * (2 * d + mixed + heads) + 2 * d * d
    return projections + KERNEL * mixed + mixed + 3 * heads + 2 * d + d  # A, D, dt bias; norm of y; norm before


def mamba3(d: int) -> int:
    state, heads, pairs = 64, 16, 16
    projections = d * (4 * d + 2 * state + 3 * heads + pairs) + 2 * d * d
    small = 2 * heads + 2 * state + 2 * heads * state  # D and dt bias; norms and biases of B and C
    return projections + small + 3 * d * 2 * d + 2 * d


def gdn(d: int) -> int:
    keys, values, heads = 3 * d // 4, 3 * d // 2, {512: 4, 768: 6, 64: 4, 640: 5}[d]
    mixed = 2 * keys + values
    mixer = d * mixed + KERNEL * mixed + 2 * d * heads + 2 * heads + 2 * d * values + values // heads
    return mixer + 3 * d * 2 * d + 2 * d


def gdn_wide(d: int) -> int:
    rank, heads = 16, {512: 4, 768: 6, 64: 4, 640: 5}[d]
    gate = d * rank + rank * 2 * d + 2 * d
    mixer = d * 4 * d + KERNEL * 4 * d + 2 * d * heads + 2 * heads + gate + 2 * d // heads + 2 * d * d
    return mixer + 3 * d * 2 * d + 2 * d


def kda(d: int, gates: int, mlp: int) -> int:
    """`gates` is how many there are of what is written; `mlp` is its size in d^2."""
    heads = {512: 4, 768: 6, 64: 4, 640: 5}[d]
    rank = d // heads
    decay, gate = d * rank + rank * d, d * rank + rank * d + d
    mixer = d * 3 * d + KERNEL * 3 * d + d * gates + decay + heads + d + gate + rank + d * d
    inner = -(-mlp * d // 3 // 32) * 32 if mlp % 3 else mlp * d // 3
    return mixer + 3 * d * inner + 2 * d


def deltaproduct(d: int) -> int:
    keys, heads = 3 * d // 4, {512: 4, 768: 6, 64: 4, 640: 5}[d]
    mixed = 3 * keys + 2 * d
    mixer = d * mixed + KERNEL * mixed + d * 2 * heads + d * heads + 2 * heads + d * d + d // heads + d * d
    return mixer + 3 * d * 2 * d + 2 * d


def llama_gated(d: int) -> int:
    inner = {512: 1216, 768: 1792, 64: 160, 640: 1504}[d]  # 7d/3, rounded up to a multiple of 32
    return 5 * d**2 + 3 * d * inner + 2 * d


def mla(d: int) -> int:
    return llama(d) + 32 * d + d // 2  # heads of width 64: the rotary key; the latent's norm


PER_LAYER = {
    "llama-rope": llama,
    "llama-nope": llama,
    "llama-relu2": llama,
    "gpt2-rope": gpt2,
    "gpt2-relu2": gpt2,
    "gpt2-original": gpt2_original,
    "llama-alibi": llama,
    "llama-gated": llama_gated,
    "swa": llama,
    "mla": mla,
    "gla": gla,
    "gla5": gla5,
    "mamba2": lambda d: 2 * mamba2(d),
    "mamba2-mlp": lambda d: mamba2(d) + 3 * d * 2 * d + d,
    "mamba3": mamba3,
    "gdn": gdn,
    "gdn-wide": gdn_wide,
    "kda": lambda d: kda(d, {512: 4, 768: 6, 64: 4, 640: 5}[d], 7),
    "gdn2": lambda d: kda(d, 2 * d, 5),
    "deltaproduct": deltaproduct,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", PER_LAYER)
def test_parameters_of_every_family(model: str, size: str) -> None:
    parsed, found = Size.parse(size), of(model, size)
    d = parsed.width
    final_norm = 2 * d if model == "gpt2-original" else d
    assert found.parameters_without_embedding == parsed.layers * PER_LAYER[model](d) + final_norm
    assert found.parameters == found.active_parameters == found.parameters_without_embedding + 2 * V * d


@pytest.mark.parametrize("model", ["gla", "gdn"])
@pytest.mark.parametrize("size", ["8L512D", "8L768D"])
def test_linear_families_match_llama(model: str, size: str) -> None:
    exact, found = (
        of(name, size, exact_intermediate=True).parameters_without_embedding for name in ("llama-rope", model)
    )
    assert round(abs(found / exact - 1), 3) <= 0.004


@pytest.mark.parametrize(
    ("model", "size", "more"),
    [
        ("mamba2-mlp", "8L512D", 0.026),
        ("mamba2-mlp", "8L768D", 0.017),
        ("mamba2", "8L512D", 0.051),
        ("mamba2", "8L768D", 0.034),
    ],
)
def test_mamba2_is_larger_than_llama_as_published(model: str, size: str, more: float) -> None:
    exact = of("llama-rope", size, exact_intermediate=True).parameters_without_embedding
    assert of(model, size).parameters_without_embedding / exact - 1 == pytest.approx(more, abs=0.0006)


def test_flops_are_those_of_the_products() -> None:
    d, layers = 512, 1
    products = 2 * layers * (llama(d) - 2 * d) + 2 * V * d
    assert of("llama-rope").flops_per_token == products + layers * 2 * 2 * CONTEXT * d


@pytest.mark.parametrize(
    ("model", "width_b", "keys", "values", "inner"),
    [
        ("llama-rope", 3 * 512, 512, 512, 2 * 1376),
        ("gpt2-rope", 3 * 512, 512, 512, 4 * 512),
        ("llama-gated", 3 * 512, 512, 512, 2 * 1216),
        ("gla", 2 * 512, 256, 512, 2 * 1376),
        ("gla5", 4 * 512, 512, 1024, 4 * 512),
        ("mamba2-mlp", 4 * 512 + 144, 64, 1024, 4 * 512),
        ("mamba3", 4 * 512 + 192, 64, 1024, 4 * 512),
        ("gdn", 3 * 512, 384, 768, 4 * 512),
        ("gdn-wide", 4 * 512, 512, 1024, 4 * 512),
        ("kda", 3 * 512, 512, 512, 2 * 1216),
        ("deltaproduct", 3 * 384 + 2 * 512, 2 * 384, 2 * 512, 4 * 512),
    ],
)
def test_what_each_canon_point_adds(model: str, width_b: int, keys: int, values: int, inner: int) -> None:
    plain = of(model, canon="none").parameters
    added = {points: of(model, canon=points).parameters - plain for points in (*"ABCDKVOM", "ABCD", "KVOM")}
    widths = {"A": 512, "B": width_b, "C": 512, "D": inner, "ABCD": 2 * 512 + width_b + inner}
    widths |= {"K": keys, "V": values, "O": 512, "M": 512, "KVOM": keys + values + 2 * 512}
    assert added == {points: KERNEL * width for points, width in widths.items()}


@pytest.mark.parametrize(("size", "share"), [("8L512D", 0.0067), ("8L768D", 0.0045)])
def test_canon_adds_the_published_share(size: str, share: float) -> None:
    plain, canon = (of("llama-rope", size, c).parameters_without_embedding for c in ("none", "ABCD"))
    assert canon / plain - 1 == pytest.approx(share, rel=0.02)


def test_a_mixture_of_experts_and_what_of_it_is_active() -> None:
    d, experts = 512, 32
    for active, count in ((False, experts), (True, 1)):
        block = 4 * d**2 + experts * d + count * 2 * d**2 + 2 * d  # attention, router, experts, norms
        found = of("llama-moe")
        assert (found.active_parameters if active else found.parameters) == block + d + 2 * V * d
    products = 4 * d**2 + experts * d + 2 * d**2 + V * d
    assert found.flops_per_token == 2 * products + 2 * 2 * CONTEXT * d


@pytest.mark.parametrize("model", ["gdn,llama-moe,gla5", "llama-rope"])
@pytest.mark.parametrize("size", ["2L32D4H", "5L32D4H"])
def test_one_block_of_each_kind_says_what_all_of_them_cost(model: str, size: str) -> None:
    config = ModelConfig(model, size, "ABC").decoder(V)
    with torch.device("meta"):
        whole = Decoder(config).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            whole(torch.zeros(1, CONTEXT, dtype=torch.int64))
    found = cost(config, CONTEXT)
    assert found.parameters == sum(p.numel() for p in whole.parameters())
    assert found.parameters_without_embedding == found.parameters - 2 * V * 32 == parameters_without_embedding(config)
    idle = sum(module.idle_parameters for module in whole.modules() if isinstance(module, MoE))
    assert found.active_parameters == found.parameters - idle
    assert found.flops_per_token == counter.get_total_flops() // CONTEXT
    assert found.state_bytes == sum(tensor.nbytes for tensor in tensors_of(whole.init_state(1, CONTEXT).blocks))


def test_tied_embeddings_count_once() -> None:
    plain, tied = of("llama-rope", "1L32D2H"), of("llama-rope", "1L32D2H", tied=True)
    assert plain.parameters - tied.parameters == V * 32
    assert tied.parameters - tied.parameters_without_embedding == V * 32


@pytest.mark.parametrize("width", [512, 768])
def test_state_grows_with_the_context_in_attention_alone(width: int) -> None:
    size, number, count = f"1L{width}D", 4, 8
    past = KERNEL - 1
    numbers = {
        "llama-rope": (2 * CONTEXT * width, CONTEXT + 1),  # keys, values; segment of each, length
        "gla": ({512: 64, 768: 96}[width] * width, 1),  # segment of the last token
        "mamba2-mlp": (128 * width + past * (2 * width + 128), 1 + past),  # the convolution's inputs, segment of each
        "mamba3": (128 * width + 16 * 64 + 2 * width + 16 * 16, 1),  # the last key, value and angles
        "gdn": (144 * width + past * 3 * width, 1 + past),
    }
    for model, (floats, integers) in numbers.items():
        assert of(model, size).state_bytes == number * floats + count * integers, model


def test_a_mixer_without_state_has_no_size_of_it(tmp_path: Path) -> None:
    source = """
from dataclasses import dataclass
from canonlab.models.mixers.base import Mixer

class Nothing(Mixer):
    @dataclass(frozen=True)
    class Config:
        width: int

    def __init__(self, config, canon):
        super().__init__()

    def forward(self, x, segment_ids, state):
        return x, state
"""
    (tmp_path / "nothing.py").write_text(source)
    assert of(f"{tmp_path / 'nothing.py'}:Nothing", "1L32D").state_bytes is None
