"""Multi-head latent attention: both forms against the paper's equations written out, in float64."""

import math

import pytest
import torch
from torch import Tensor

from canonlab.canon import Canon
from canonlab.errors import InputError
from canonlab.models.canon_points import NoCanon
from canonlab.models.config import ModelConfig
from canonlab.models.mixers import softmax
from canonlab.models.mixers.mla import MLA, absorbed, expanded
from canonlab.models.mixers.softmax import Sight

HEADS, WIDTH, TIME = 4, 32, 27
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
VARIANTS = [{}, {"rank": 5, "rotary": 6}, {"query_rank": 12, "rope_base": 300.0, "norm_eps": 0.1}]

variants = pytest.mark.parametrize("arguments", VARIANTS, ids=str)
packings = pytest.mark.parametrize("packed", [False, True])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mixer_of(**arguments: object) -> MLA:
    torch.manual_seed(0)
    mixer = MLA(MLA.Config(width=WIDTH, heads=HEADS, **arguments), Canon).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return mixer


def segments_of(packed: bool) -> Tensor:
    rows = [[0] * 9 + [1] + [2] * 17, [-1] * 6 + [0] * 13 + [1] * 8]
    return torch.tensor(rows) if packed else torch.zeros(2, TIME, dtype=torch.int64)


def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def turned(x: Tensor, position: int, base: float) -> Tensor:
    """Of the last dimension, i and i + half are one complex number."""
    half = x.shape[-1] // 2
    angles = position * base ** (-torch.arange(half, dtype=torch.float64) / half)
    y = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([y.real, y.imag], -1)


def by_definition(mixer: MLA, x: Tensor, segments: Tensor) -> Tensor:
    """Token by token and head by head, keys and values made anew for each."""
    config = mixer.config
    width, rotated, eps = WIDTH // HEADS, config.rotated, config.norm_eps
    queries, latent, rotary = mixer.down(x).split(mixer.down_widths, dim=-1)
    if config.query_rank:
        assert mixer.query_norm is not None and mixer.up_q is not None
        queries = mixer.up_q(normed(queries, mixer.query_norm.weight, eps))
    h = torch.cat([queries, normed(latent, mixer.latent_norm.weight, eps), rotary], dim=-1)
    queries, latent, rotary = mixer.canon(h, segments).split(mixer.widths, dim=-1)
    up_k, up_v = (up.weight.view(HEADS, width, -1) for up in (mixer.up_k, mixer.up_v))
    rows = []
    for b in range(len(x)):
        for t in range(x.shape[1]):
            seen = [s for s in range(t + 1) if segments[b, s] == segments[b, t]]
            for head, own in enumerate(queries[b, t].split(width + rotated)):
                query = torch.cat([own[:width], turned(own[width:], t, config.rope_base)])
                keys = [torch.cat([up_k[head] @ latent[b, s], turned(rotary[b, s], s, config.rope_base)]) for s in seen]
                share = torch.softmax(torch.stack(keys) @ query / math.sqrt(width + rotated), 0)
                rows.append(share @ (latent[b, seen] @ up_v[head].T))
    return mixer.out(torch.stack(rows).view(*x.shape[:2], WIDTH))


@variants
@packings
def test_outputs_and_gradients_are_the_definition(
    packed: bool, arguments: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "BLOCK", 8)
    mixer, x, segments = mixer_of(**arguments), random(2, TIME, WIDTH).requires_grad_(), segments_of(packed)
    wanted = [x, *mixer.parameters()]
    expected, (found, _) = by_definition(mixer, x, segments), mixer(x, segments if packed else None, None)
    torch.testing.assert_close(found, expected, **TOLERANCE)
    upstream = random(2, TIME, WIDTH, seed=3)
    for a, b in zip(*(torch.autograd.grad(y, wanted, upstream) for y in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


@variants
@packings
def test_decoding_equals_the_forward(packed: bool, arguments: dict[str, object]) -> None:
    """In calls short enough for the absorbed form and longer ones, across segments and padding, with Canon-B."""
    mixer, x, segments = mixer_of(**arguments), random(2, TIME, WIDTH), segments_of(packed)
    full, _ = mixer(x, segments, None)
    real = segments >= 0
    for cuts in ([1] * TIME, [14, 1, 1, 3, 8], [9, 9, 9]):
        state = mixer.init_state(2, TIME + 3, torch.float64, torch.device("cpu"))
        parts = [mixer(i, s, state)[0] for i, s in zip(x.split(cuts, 1), segments.split(cuts, 1), strict=True)]
        torch.testing.assert_close(torch.cat(parts, 1)[real], full[real], **TOLERANCE)


@pytest.mark.parametrize("cached", [False, True])
def test_both_forms_have_the_same_outputs_and_gradients(cached: bool) -> None:
    segments = segments_of(packed=True)
    sight = Sight(torch.arange(TIME)[None], segments, segments)
    shapes = ((2, TIME, HEADS, 12), (2, TIME, 9), (HEADS, 8, 5), (HEADS, 8, 5))
    leaves = [random(*shape, seed=seed).requires_grad_() for seed, shape in enumerate(shapes)]
    outputs = [form(*leaves, sight, cached) for form in (expanded, absorbed)]
    assert outputs[0].shape == (2, TIME, HEADS, 8)
    upstream = random(2, TIME, HEADS, 8, seed=9)
    for a, b in zip(*((y, *torch.autograd.grad(y, leaves, upstream)) for y in outputs), strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


def test_a_token_is_remembered_by_its_latent_and_rotary_key() -> None:
    state = mixer_of(rank=5, rotary=6).init_state(3, 10, torch.float32, torch.device("cpu"))
    assert {name: tuple(state[name].shape) for name in ("latent", "segments", "length")} == {
        "latent": (3, 10, 11),
        "segments": (3, 10),
        "length": (3,),
    }
    (block,) = ModelConfig("mla", "1L512D").decoder(10).build().init_state(1, 10).blocks
    assert block["mixer"]["latent"].shape == (1, 10, 256 + 32)


def count(**arguments: object) -> int:
    config = MLA.Config(width=32, heads=4, **arguments)  # type: ignore[arg-type]
    return sum(p.numel() for p in MLA(config, lambda _: NoCanon()).parameters())


def test_parameters_by_hand() -> None:
    assert count() == 4 * 32 * 32 + 4 * 32 + 16, "by default 4 width^2 and the rotary key; the latent's norm"
    assert count() == 32 * 4 * (8 + 4) + 32 * (16 + 4) + 2 * 16 * 32 + 32 * 32 + 16
    assert count(rank=5, rotary=6) == 32 * 4 * 14 + 32 * 11 + 2 * 5 * 32 + 32 * 32 + 5
    assert count(query_rank=7) == 32 * 7 + 7 * 4 * 12 + 32 * 20 + 2 * 16 * 32 + 32 * 32 + 16 + 7


def test_canon_b_is_on_queries_latent_and_rotary_key() -> None:
    asked: list[int] = []

    def canon(width: int) -> NoCanon:
        asked.append(width)
        return NoCanon()

    for query_rank in (0, 7):
        MLA(MLA.Config(width=32, heads=4, query_rank=query_rank), canon)
    assert asked == [4 * 12 + 16 + 4] * 2
    with pytest.raises(InputError, match="MLA has no point K"):
        ModelConfig("mla", "1L32D4H", "K").decoder(10).build()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "heads = 3: must divide the width 32"),
        ({"heads": 4, "rank": -1}, "rank = -1: must be an integer from 0"),
        ({"heads": 4, "rotary": 3}, "rotary = 3: must be even"),
        ({"heads": 4, "rope_base": 0.0}, "rope_base = 0.0: must be a finite number above 0"),
    ],
)
def test_bad_configurations(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MLA.Config(width=32, **arguments)  # type: ignore[arg-type]
