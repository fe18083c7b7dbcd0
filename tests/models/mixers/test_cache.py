"""Windows, sinks and gates: attention against its definition written out, in float64, trained and with a cache."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention

from canonlab.canon import Canon
from canonlab.errors import InputError
from canonlab.models.canon_points import NoCanon
from canonlab.models.config import ModelConfig
from canonlab.models.cost import cost
from canonlab.models.mixers import softmax
from canonlab.models.mixers.attention import Attention
from canonlab.models.mixers.cache import segment_starts
from canonlab.models.mixers.softmax import Sight, attend, choose_implementation, flex
from transforms import check_transforms, compiled_operators

HEADS, WIDTH = 4, 32
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
TIME = 37
WINDOWS = [(1, 0), (5, 0), (5, 3), (9, 12), (64, 4)]

windows = pytest.mark.parametrize(("window", "sinks"), WINDOWS)
packings = pytest.mark.parametrize("packed", [False, True])
logits = pytest.mark.parametrize("sink_logit", [False, True])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def segments_of(time: int = TIME) -> Tensor:
    """Documents shorter and longer than windows; the second row begins with padding."""
    lengths = [[time - 20, 1, 2, 17], [11, time - 14, 3]]
    rows = [torch.arange(len(row)).repeat_interleave(torch.tensor(row)) for row in lengths]
    return torch.stack([rows[0], rows[1] - 1])


def visible(segments: Tensor, b: int, t: int, window: int, sinks: int) -> list[int]:
    """The last `window` tokens up to t, and the first `sinks` of its segment, token by token."""
    own = [j for j in range(t + 1) if segments[b, j] == segments[b, t]]
    return [j for place, j in enumerate(own) if not window or j > t - window or place < sinks]


def by_definition(
    q: Tensor, k: Tensor, v: Tensor, segments: Tensor, window: int, sinks: int, sink: Tensor | None
) -> Tensor:
    """One query and head at a time."""
    batch, heads, time, width = q.shape
    out = []
    for b in range(batch):
        for h in range(heads):
            shared = h // (heads // k.shape[1])
            for t in range(time):
                seen = visible(segments, b, t, window, sinks)
                terms = ((k[b, shared, seen] @ q[b, h, t]) / math.sqrt(width)).exp()
                nowhere = 0 if sink is None else sink[h].exp()
                out.append(terms @ v[b, shared, seen] / (terms.sum() + nowhere))
    return torch.stack(out).view(batch, heads, time, -1)


def sight_of(window: int, sinks: int, segments: Tensor | None) -> Sight:
    positions = torch.arange(TIME)[None]
    starts = torch.zeros_like(positions) if segments is None else segment_starts(segments)
    return Sight(positions, segments, segments, starts_BT=starts if sinks else None, window=window, sinks=sinks)


@windows
@packings
@logits
def test_implementations_and_gradients_are_the_definition(
    window: int, sinks: int, packed: bool, sink_logit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "BLOCK", 8)
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    segments = segments_of() if packed else None
    leaves = [random(2, heads, TIME, 8, seed=seed).requires_grad_() for seed, heads in enumerate((HEADS, 2, 2))]
    sink = torch.tensor([-2.0, 0.0, 1.0, 3.0], dtype=torch.float64).requires_grad_() if sink_logit else None
    wanted = [*leaves, *([] if sink is None else [sink])]
    none = torch.zeros(2, TIME) if segments is None else segments
    upstream = random(2, HEADS, TIME, 8, seed=7)
    expected = by_definition(*leaves, none, window, sinks, sink)
    gradients = torch.autograd.grad(expected, wanted, upstream)
    sight = sight_of(window, sinks, segments)
    for name in ["blocks", "whole", *([] if sink_logit else ["mask"])]:
        found = attend(*leaves, sight, sink, cached=False, implementation=name)
        torch.testing.assert_close(found, expected, **TOLERANCE)
        for a, b in zip(torch.autograd.grad(found, wanted, upstream), gradients, strict=True):
            torch.testing.assert_close(a, b, **TOLERANCE)
    found = flex(*(leaf.detach() for leaf in leaves), sight, None if sink is None else sink.detach())
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_blocks_with_sinks_pass_gradcheck_operator_checks_and_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "BLOCK", 2)
    segments = torch.tensor([[0, 1, 1, 1, 1]])
    starts = segment_starts(segments)
    sight = Sight(torch.arange(5)[None], segments, segments, starts_BT=starts, window=2, sinks=1)
    inputs = [*(random(1, heads, 5, 4, seed=heads) for heads in (2, 1, 1)), random(2, seed=3)]

    def function(q: Tensor, k: Tensor, v: Tensor, sink: Tensor) -> Tensor:
        return attend(q, k, v, sight, sink, cached=False, implementation="blocks")

    leaves = [x.clone().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(function, leaves)
    torch.library.opcheck(softmax._blocks.node, (*leaves, *sight), test_utils=("test_schema", "test_faketensor"))
    check_transforms(function, inputs, twice=True)
    assert compiled_operators(function, inputs) == ["attention_blocks", "attention_blocks_backward"]


@packings
def test_blocks_read_no_keys_but_the_windows_and_the_sinks(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "BLOCK", 4)
    shapes = []
    make = Sight.mask

    def noted(self: Sight, first: int, stop: int, keys: Tensor) -> Tensor:
        shapes.append((stop - first, len(keys)))
        return make(self, first, stop, keys)

    monkeypatch.setattr(Sight, "mask", noted)
    segments = segments_of() if packed else None
    q = random(2, HEADS, TIME, 8).requires_grad_()
    attend(q, q, q, sight_of(5, 2, segments), cached=False, implementation="blocks").sum().backward()
    rows = 2 if packed else 1
    assert len(shapes) == 2 * -(-TIME // 4)
    assert max(queries for queries, _ in shapes) == 4
    assert max(keys for _, keys in shapes) == 4 + (5 - 1) + 2 * rows


def test_products_of_a_window_do_not_grow_with_the_context() -> None:
    config = ModelConfig("swa", "1L64D1H", mixer={"window": 32, "sinks": 3}).decoder(10)
    short, long = (cost(config, context) for context in (256, 4096))
    assert short.flops_per_token == long.flops_per_token
    assert short.state_bytes == long.state_bytes
    whole = cost(ModelConfig("llama-rope", "1L64D1H").decoder(10), 4096)
    assert whole.flops_per_token - long.flops_per_token == 4 * 64 * (4096 - 35)


def test_who_computes_sink_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    def choice(device: str, queries: int = 1, cached: bool = False) -> str:
        return choose_implementation(device, torch.float32, queries, 64, masked=cached, cached=cached, sink=True)

    monkeypatch.setattr(softmax, "HAS_TRITON", True)
    assert choice("cpu") == choice("cpu", cached=True) == choice("meta", 512) == "blocks"
    assert choice("cuda", 512) == "flex"
    assert choice("cuda", cached=True) == choice("mps") == "whole"


def attention(**arguments: object) -> Attention:
    config = Attention.Config(width=WIDTH, heads=HEADS, **arguments)  # type: ignore[arg-type]
    torch.manual_seed(0)
    mixer = Attention(config, Canon).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return mixer


def plain_mixer(mixer: Attention, x: Tensor, segments: Tensor) -> Tensor:
    """The mixer's equations, with rotation by complex numbers."""
    config = mixer.config
    q, k, v = mixer.canon(mixer.qkv(x), segments).split(mixer.widths, dim=-1)
    q, k, v = (y.unflatten(-1, (-1, config.head_width)).transpose(1, 2) for y in (q, k, v))
    half = config.head_width // 2
    angles = torch.arange(x.shape[1])[:, None] * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    turn = torch.polar(torch.ones_like(angles), angles)
    q, k = ((torch.complex(y[..., :half], y[..., half:]) * turn) for y in (q, k))
    q, k = (torch.cat([y.real, y.imag], -1) for y in (q, k))
    o = by_definition(q, k, v, segments, config.window, config.sinks, mixer.sink).transpose(1, 2).flatten(2)
    return mixer.out(o if mixer.gate is None else o / (1 + (-x @ mixer.gate.weight.T).exp()))


VARIANTS = [
    {"gate": True},
    {"window": 5},
    {"window": 1},
    {"window": 1, "sinks": 1},
    {"window": 6, "sinks": 4},
    {"window": 4, "sinks": 9, "kv_heads": 2},
    {"sink_logit": True},
    {"window": 7, "sinks": 2, "sink_logit": True, "gate": True},
]


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
@packings
def test_the_mixer_is_its_definition(
    packed: bool, arguments: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "BLOCK", 8)
    mixer, x = attention(**arguments), random(2, TIME, WIDTH).requires_grad_()
    segments = segments_of() if packed else None
    wanted = [x, *mixer.parameters()]
    expected = plain_mixer(mixer, x, torch.zeros(2, TIME, dtype=torch.int64) if segments is None else segments)
    found, _ = mixer(x, segments, None)
    torch.testing.assert_close(found, expected, **TOLERANCE)
    upstream = random(2, TIME, WIDTH, seed=3)
    for a, b in zip(*(torch.autograd.grad(y, wanted, upstream) for y in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


CUTS = [[1] * TIME, [13, 1, 1, 9, 2, 11], [30, 7], [1, 2, 3, 5, 26]]


@pytest.mark.parametrize("arguments", [*VARIANTS, {"window": 6, "position": "alibi"}], ids=str)
@packings
def test_decoding_equals_the_forward(
    packed: bool, arguments: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks of every size, across segments, with padding on the left and Canon-B."""
    monkeypatch.setattr(softmax, "BLOCK", 8)
    mixer, x = attention(**arguments), random(2, TIME, WIDTH)
    segments = segments_of() if packed else torch.tensor([[0] * TIME, [-1] * 6 + [0] * (TIME - 6)])
    full, _ = mixer(x, segments, None)
    real = segments >= 0
    for cuts in CUTS:
        state = mixer.init_state(2, TIME, torch.float64, torch.device("cpu"))
        parts = [mixer(i, s, state)[0] for i, s in zip(x.split(cuts, 1), segments.split(cuts, 1), strict=True)]
        torch.testing.assert_close(torch.cat(parts, 1)[real], full[real], **TOLERANCE)


def test_a_windows_state_is_as_long_as_the_window_and_the_sinks() -> None:
    mixer = attention(window=5, sinks=3, kv_heads=2)
    for max_len in (1, 1000):
        state = mixer.init_state(2, max_len, torch.float32, torch.device("cpu"))
        assert state["k"].shape == state["v"].shape == (2, 8, 2, 8)
        assert {name: tuple(state[name].shape) for name in ("segments", "length", "start")} == {
            "segments": (2, 8),
            "length": (2,),
            "start": (2,),
        }


def test_the_state_keeps_the_sinks_that_have_left_the_window() -> None:
    """Segments of 4, 2 and more tokens: what was a sink of an earlier one is dropped."""
    mixer = Attention(Attention.Config(width=4, heads=1, window=2, sinks=3, position="nope"), lambda _: NoCanon())
    with torch.no_grad():
        mixer.qkv.weight[4:8] = torch.eye(4)  # keys are the inputs
    x = torch.arange(1.0, 13.0)[None, :, None].expand(1, -1, 4)
    segments = torch.tensor([[0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2]])
    state = mixer.init_state(1, 12, torch.float32, torch.device("cpu"))
    kept = []
    for t in range(12):
        mixer(x[:, t : t + 1], segments[:, t : t + 1], state)
        keys = state["k"][0, :, 0, 0].masked_fill(state["segments"][0] < 0, 0)
        kept.append(keys.int().tolist())
    assert kept[:4] == [[0, 0, 0, 0, 1], [0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 4]]
    assert kept[4:7] == [[0, 0, 0, 4, 5], [0, 0, 0, 5, 6], [0, 0, 0, 6, 7]]
    assert kept[7:] == [[0, 0, 0, 7, 8], [0, 0, 7, 8, 9], [0, 7, 8, 9, 10], [7, 8, 9, 10, 11], [7, 8, 9, 11, 12]]


def test_parameters_by_hand() -> None:
    def count(**arguments: object) -> int:
        config = Attention.Config(width=32, heads=4, **arguments)  # type: ignore[arg-type]
        return sum(p.numel() for p in Attention(config, lambda _: NoCanon()).parameters())

    assert count(gate=True) == 5 * 32 * 32
    assert count(window=8, sinks=2) == 4 * 32 * 32
    assert count(sink_logit=True) == 4 * 32 * 32 + 4


def test_a_gate_and_sinks_add_nothing_to_point_b() -> None:
    asked: list[int] = []

    def canon(width: int) -> NoCanon:
        asked.append(width)
        return NoCanon()

    Attention(Attention.Config(width=32, heads=4, gate=True, window=8, sinks=2, sink_logit=True), canon)
    assert asked == [96]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": -1}, "window = -1: must be an integer from 0 to 65536"),
        ({"sinks": 2}, r"sinks = 2: without a window \(window = 0\) every token stays in sight"),
        ({"window": 8, "sinks": 2, "position": "alibi"}, "must be 0 with position = 'alibi'.*sinks go with rope, "),
    ],
)
def test_bad_configurations(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Attention.Config(width=32, heads=4, **arguments)  # type: ignore[arg-type]


def test_the_presets() -> None:
    (gated,) = ModelConfig("llama-gated").decoder(10).pattern
    assert gated.mixer.arguments["gate"] and gated.mixer.arguments["window"] == 0
    hybrid = ModelConfig("gdn,gdn,gdn,llama-gated").decoder(10)
    assert hybrid.pattern[3].mixer == dataclasses.replace(gated.mixer, arguments=gated.mixer.arguments)
    (swa,) = ModelConfig("swa").decoder(10).pattern
    assert (swa.mixer.arguments["window"], swa.mixer.arguments["sinks"]) == (64, 4)
