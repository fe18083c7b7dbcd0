"""RWKV-7: two layers against the equations of the paper token by token, and the initial values of its authors' code."""

import math

import pytest
import torch
import torch.nn.functional as F

from canonlab.canon import Canon
from canonlab.errors import InputError
from canonlab.models.canon_points import CanonConfig
from canonlab.models.check.subject import draw_zeros
from canonlab.models.config import ModelConfig
from canonlab.models.mixers.base import Place
from canonlab.models.mixers.rwkv7 import FIRST_VALUES, RWKV7

EXACT = {"rtol": 1e-9, "atol": 1e-9}
WIDTH, HEADS = 16, 2
VARIANTS = {
    "own shift": {},
    "none": {"conv1d": False},
    "Canon-B": {"conv1d": False, "points": "B"},
    "keys": {"key_share": 0.5},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def build(points="", layers=2, **config):
    """The mixers of all layers, in float64 with weights of trained size."""
    torch.manual_seed(0)
    mixers = []
    for layer in range(layers):
        place = Place(layer, layers, layer)
        mixer = RWKV7(RWKV7.Config(WIDTH, HEADS, **config), lambda w: CanonConfig(points).build("B", w), place).double()
        draw_zeros(mixer)
        for name, parameter in mixer.named_parameters():
            if parameter.ndim == 2 and "conv" not in name:
                parameter.data.mul_(0.5 / parameter.data.std())
        mixers.append(mixer)
    return mixers


def by_the_equations(mixer, x_TD, first_TV):
    """One sequence: y and the values before they are mixed, with the state V x K as the paper has it."""
    time, previous = len(x_TD), torch.cat([torch.zeros_like(x_TD[:1]), x_TD[:-1]])

    def seen(name):
        return x_TD if mixer.shift is None else x_TD + getattr(mixer.mix, name) * (previous - x_TD)

    rkv = torch.cat([linear(seen(name)) for name, linear in (("r", mixer.r), ("k", mixer.k), ("v", mixer.v))], -1)
    if isinstance(mixer.canon, Canon):
        past = F.pad(rkv, (0, 0, 3, 0))
        rkv = rkv + sum(mixer.canon.weight[lag] * past[3 - lag : 3 - lag + time] for lag in range(4))
    r, k, v = rkv.split(mixer.widths, -1)

    def low_rank(part, name, f):
        return f(seen(name) @ part.down.weight.T) @ part.up.weight.T + (0 if part.bias is None else part.bias)

    values = v
    if mixer.blend is not None:
        v = v + (first_TV - v) * torch.sigmoid(low_rank(mixer.blend, "v", lambda y: y))
    a = torch.sigmoid(low_rank(mixer.rate, "a", lambda y: y))
    w = torch.exp(-math.exp(-0.5) * torch.sigmoid(low_rank(mixer.decay, "w", torch.tanh)))
    gate = low_rank(mixer.gate, "g", torch.sigmoid)
    removed, k = k * mixer.removed, k * (1 + (a - 1) * mixer.replaced)
    split = [part.unflatten(-1, (HEADS, -1)) for part in (r, k, v, a, w, removed, mixer.bonus)]
    r, k, v, a, w, removed, bonus = split
    removed = removed / removed.norm(dim=-1, keepdim=True)
    memory, outputs = [torch.zeros(v.shape[-1], k.shape[-1], dtype=x_TD.dtype)] * HEADS, []
    for t in range(time):
        heads = []
        for h in range(HEADS):
            transition = w[t, h].diag() - torch.outer(removed[t, h], a[t, h] * removed[t, h])
            memory = list(memory)
            memory[h] = memory[h] @ transition + torch.outer(v[t, h], k[t, h])
            o = memory[h] @ r[t, h]
            part = slice(h * len(o), (h + 1) * len(o))
            o = (o - o.mean()) / torch.sqrt(o.var(unbiased=False) + len(o) * 1e-5)
            o = o * mixer.norm.weight[part] + mixer.norm.bias[part]
            heads.append(o + (r[t, h] * bonus[h] * k[t, h]).sum() * v[t, h])
        outputs.append(mixer.out.weight @ (torch.cat(heads) * gate[t]))
    return torch.stack(outputs), values


@every_variant
@pytest.mark.parametrize("time", [1, 21, 70])
def test_two_layers_are_the_equations_with_their_gradients(variant, time):
    mixers = build(**VARIANTS[variant])
    x = torch.randn(2, time, WIDTH, dtype=torch.float64, requires_grad=True)
    shared, found = {}, []
    for mixer in mixers:
        found.append(mixer(x, None, None, shared)[0])
    wanted = []
    for row in x:
        one, values = by_the_equations(mixers[0], row, None)
        wanted.append(torch.stack([one, by_the_equations(mixers[1], row, values)[0]]))
    weights = torch.randn(2, 2, time, WIDTH, dtype=torch.float64)
    leaves = [x, *(p for mixer in mixers for p in mixer.parameters())]
    results = []
    for y in (torch.stack(found, 1), torch.stack(wanted)):
        results.append([y, *torch.autograd.grad((y * weights).sum(), leaves, allow_unused=True)])
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, **EXACT)


@every_variant
def test_segments_pieces_and_steps_are_the_whole(variant):
    mixers = build(**VARIANTS[variant])
    x, pieces = torch.randn(2, 90, WIDTH, dtype=torch.float64), [1, 40, 1, 2, 30, 16]
    ids = torch.tensor([[-1] * 5 + [0] * 70 + [1] * 15, [3] * 41 + [4] * 1 + [5] * 48])

    def run(x, ids, states):
        shared = {}
        return torch.stack([mixer(x, ids, state, shared)[0] for mixer, state in zip(mixers, states, strict=True)], 2)

    with torch.no_grad():
        whole = run(x, ids, [None, None])
        states = [mixer.init_state(2, 90, x.dtype, x.device) for mixer in mixers]
        parts = [run(*cut, states) for cut in zip(x.split(pieces, 1), ids.split(pieces, 1), strict=True)]
        torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
        for row, lengths in enumerate(([5, 70, 15], [41, 1, 48])):
            alone = [run(part[None], None, [None, None]) for part in x[row].split(lengths)]
            torch.testing.assert_close(torch.cat(alone, 1)[0], whole[row], **EXACT)


def test_initial_values_hang_on_depth_as_the_authors_have_them():
    torch.manual_seed(0)
    first, middle, last = (
        RWKV7(RWKV7.Config(64, 2), lambda w: CanonConfig().build("B", w), Place(layer, 3, layer)) for layer in range(3)
    )
    channel = torch.arange(64) / 64
    torch.testing.assert_close(first.mix.k.data, 1 - channel**0.7)
    torch.testing.assert_close(last.mix.g.data, 1 - channel ** (0.2 / 3))
    torch.testing.assert_close(middle.norm.weight.data, torch.full((64,), (2 / 3) ** 0.7))
    n = 40
    zigzag = ((n % 32) - 15.5) / 15.5
    expected = -6 + 6 * (n / 63) ** (1 + 0.5**0.3) + 0.5 + 2.5 * zigzag * abs(zigzag)
    assert middle.decay.bias[n].item() == pytest.approx(expected, abs=1e-5)
    assert first.blend is None and last.blend.bias[n].item() == pytest.approx(0.73 - 0.4 * (n / 63 - 0.5), abs=1e-6)
    assert middle.rate.bias[n].item() == pytest.approx(
        -0.19 + 0.3 * zigzag * abs(zigzag) + 0.4 * (n / 63 - 0.5), abs=1e-5
    )
    assert not middle.out.weight.any() and not middle.decay.down.weight.any()
    assert middle.k.weight.abs().max() <= 0.05 / 8 and middle.r.weight.std().item() == pytest.approx(
        0.5 / 8 / 3**0.5, rel=0.1
    )
    rates = {name for name, p in middle.named_parameters() if getattr(p, "_learning_rate_factor", 1) == 2}
    assert rates == {"decay.bias"}


def test_parameters_by_hand():
    d = 512
    ranks = {"decay": 64, "rate": 64, "blend": 32, "gate": 128}
    common = 4 * d * d + 2 * d * (ranks["decay"] + ranks["rate"] + ranks["gate"]) + 6 * d  # matrices and token shift
    common += 2 * d + 3 * d + 2 * d  # biases of decay and rate; removed, replaced, bonus; the norm
    later = 2 * d * ranks["blend"] + d
    decoder = ModelConfig("rwkv7", "8L512D").decoder(11).build()
    sizes = [sum(p.numel() for p in block.mixer.parameters()) for block in decoder.blocks]
    assert sizes == [common, *[common + later] * 7]


def test_a_hybrid_shares_the_values_of_its_own_first_layer():
    decoder = ModelConfig("llama-rope,rwkv7", "4L32D2H").decoder(11).build()
    assert [getattr(block.mixer, "first", None) for block in decoder.blocks] == [None, True, None, False]
    assert decoder(torch.zeros(1, 4, dtype=torch.int64)).logits.isfinite().all()
    shared: dict[str, torch.Tensor] = {}
    decoder.blocks[1].mixer(torch.zeros(1, 4, 32), None, None, shared)
    assert list(shared) == [FIRST_VALUES]


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="heads = 3: must divide the key width 16"):
        RWKV7.Config(16, 3)
    with pytest.raises(InputError, match=r"rank_share = 0.0: must be above 0 and at most 1"):
        RWKV7.Config(16, 2, rank_share=0.0)


def test_weights_in_half_precision():
    (mixer,) = build(layers=1)
    x = torch.randn(2, 9, WIDTH, dtype=torch.float64)
    wanted, found = mixer(x, None, None, {})[0], mixer.bfloat16()(x.bfloat16(), None, None, {})[0]
    assert found.dtype == torch.bfloat16
    assert (found - wanted).norm() < 0.05 * wanted.norm()
