"""Gated linear attention: its three forms are one, at any length, decay and segment; the layer is as specified."""

import re

import pytest
import torch
import torch.nn.functional as F

from canonlab.errors import InputError
from canonlab.models.canon_points import CanonConfig, NoCanon
from canonlab.models.mixers import linear
from canonlab.models.mixers.decays import ChannelDecays
from canonlab.models.mixers.gla import DECAY_ROOT, GLA

B, H, K, V = 2, 2, 3, 5
LENGTHS = (1, 2, 15, 16, 17, 63, 64, 65, 130)
EXACT = {"rtol": 1e-9, "atol": 1e-9}
GLA5 = {"key_share": 1.0, "value_share": 2.0, "conv1d": True, "gate_rank": 16, "low_rank_std": (0.02 / 4) ** 0.5}


def recurrent(q, k, v, log_decay, scale, initial=None, segment_ids=None):
    return linear.recurrent(scale * q, k, v, log_decay, initial_BHKV=initial, segment_ids=segment_ids)


def chunked(q, k, v, log_decay, scale, initial=None, segment_ids=None):
    return linear.chunked(scale * q, k, v, log_decay, initial_BHKV=initial, segment_ids=segment_ids)


def _inputs(time, dtype=torch.float64, spread=4.0, seed=0):
    """q, k, v, log decay and initial state; the sigmoid's argument has standard deviation 10 `spread`."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    decay = F.logsigmoid(10 * spread * draw(B, time, H, K)) / DECAY_ROOT
    inputs = (draw(B, time, H, K), draw(B, time, H, K), draw(B, time, H, V), decay, draw(B, H, K, V))
    return [x.to(dtype).requires_grad_() for x in inputs]


def _segments(time):
    """Two rows cut at different places, the second one with padding on the left."""
    cuts = torch.rand(2, time, generator=torch.Generator().manual_seed(time)) < 0.1
    return cuts.cumsum(1) - torch.tensor([[0], [1]])


def _steps(q, k, v, log_decay, scale, state, segment_ids=None):
    """Token by token through `recurrent`, as cached decoding does it."""
    outputs = []
    for t in range(q.shape[1]):
        if segment_ids is not None and t:
            state = state * (segment_ids[:, t] == segment_ids[:, t - 1])[:, None, None, None]
        now = slice(t, t + 1)
        o, state = recurrent(q[:, now], k[:, now], v[:, now], log_decay[:, now], scale, state)
        outputs.append(o)
    return torch.cat(outputs, 1), state


def _with_gradients(form, inputs, segment_ids):
    *sequences, initial = inputs
    o, state = form(*sequences, K**-0.5, initial, segment_ids)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in (o, state)]
    loss = sum((x * w).sum() for x, w in zip((o, state), weights, strict=True))
    return [o, state, *torch.autograd.grad(loss, inputs)]


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("time", LENGTHS)
def test_the_three_forms_have_one_output_state_and_gradient(time, segmented):
    inputs, segment_ids = _inputs(time), _segments(time) if segmented else None
    wanted = _with_gradients(recurrent, inputs, segment_ids)
    for form in (chunked, _steps):
        for found, expected in zip(_with_gradients(form, inputs, segment_ids), wanted, strict=True):
            torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("form", [recurrent, chunked])
def test_no_initial_state_is_zero(form):
    *sequences, initial = _inputs(70)
    for found, wanted in zip(form(*sequences, 0.5), form(*sequences, 0.5, 0 * initial), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("form", [recurrent, chunked])
def test_segments_are_separate_sequences_and_the_first_has_the_initial_state(form):
    *sequences, initial = _inputs(100)
    segment_ids = torch.tensor([0] * 30 + [1] * 1 + [2] * 64 + [0] * 5).expand(B, 100)
    o, state = form(*sequences, 0.5, initial, segment_ids)
    parts = []
    for first, last in ((0, 30), (30, 31), (31, 95), (95, 100)):
        part, final = form(*(x[:, first:last] for x in sequences), 0.5, initial if first == 0 else 0 * initial)
        parts.append(part)
    torch.testing.assert_close(o, torch.cat(parts, 1), **EXACT)
    torch.testing.assert_close(state, final, **EXACT)


PATTERNS = {
    "forget everything": [-1000.0],
    "forget nothing": [30.0],
    "in turns": [-1000.0, 30.0],
    "once in a while": [*[30.0] * 99, -1000.0],
    "between": [-30.0, -300.0, 0.0, 5.0],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_extreme_decays_are_exact_over_4096_tokens(pattern, dtype):
    time, values = 4096, PATTERNS[pattern]
    q, k, v, _, initial = (x.detach() for x in _inputs(time, torch.float32))
    q, k, v = (x.to(dtype) for x in (q, k, v))
    pre = torch.tensor(values).repeat(time // len(values) + 1)[:time, None, None].expand(B, time, H, K)
    leaves = [x.clone().requires_grad_() for x in (q, k, v, pre, initial)]
    o, state = _mixed(chunked, leaves)
    gradients = torch.autograd.grad(o.float().square().mean() + state.square().mean(), leaves)
    with torch.no_grad():
        expected = _mixed(recurrent, [x.double() for x in (q, k, v, pre, initial)])
    share = 2e-6 if dtype == torch.float32 else 1e-2
    for found, wanted in zip((o, state), expected, strict=True):
        assert (found - wanted).abs().max() <= share * wanted.abs().max()
    doubles = [x.double().requires_grad_() for x in (q, k, v, pre, initial)]
    o, state = _mixed(chunked, doubles)
    exact = torch.autograd.grad(o.square().mean() + state.square().mean(), doubles)
    for found, wanted in zip(gradients, exact, strict=True):
        assert (found - wanted).abs().max() <= 5 * share * wanted.abs().max()


def _mixed(form, leaves):
    q, k, v, pre, initial = leaves
    return form(q, k, v, F.logsigmoid(pre) / DECAY_ROOT, K**-0.5, initial)


def test_a_decay_after_one_that_forgets_everything_is_not_rounded_away():
    log_decay = torch.full((1, 64, 1, 1), -1e-5)
    log_decay[:, 0] = -1e6  # differences of cumulated logs would lose the rest in float32
    q = k = v = torch.ones(1, 64, 1, 1)
    o, _ = chunked(q, k, v, log_decay, 1.0, torch.ones(1, 1, 1, 1))
    expected = torch.exp(-1e-5 * torch.arange(64, dtype=torch.float64)).cumsum(0)
    torch.testing.assert_close(o.flatten().double(), expected, rtol=1e-6, atol=0)


def _layer(width=16, canon="", seed=0, **arguments):
    """A layer in float64 with weights of trained size, so that decays and gates are far from their initial values."""
    torch.manual_seed(seed)
    arguments = {"heads": 2, **arguments}
    layer = GLA(GLA.Config(width, **arguments), lambda w: CanonConfig(canon).build("B", w)).double()
    for parameter in layer.parameters():
        parameter.data.mul_(20 if parameter.ndim == 2 and parameter.shape[0] > 4 else 1)
    layer.decay[1].bias.data.normal_(std=3)
    return layer


KINDS = {
    "gla": {},
    "gla5": GLA5,
    "conv": {"conv1d": True, "feature_map": "elu"},
    "canon": {"canon": "B"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def _x(time, width=16, seed=0):
    return torch.randn(2, time, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_kind
def test_any_chunking_with_a_state_is_the_whole(kind):
    layer, x = _layer(**KINDS[kind]), _x(90)
    whole, _ = layer(x, None, None)
    state = layer.init_state(2, 90, x.dtype, x.device)
    assert state["S"].dtype == torch.float64
    storage = state["S"].data_ptr()
    parts = [layer(part, None, state)[0] for part in x.split([7, 1, 1, 65, 13, 1, 1, 1], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
    assert state["S"].data_ptr() == storage and not state["S"].requires_grad
    assert state["segment"].tolist() == [0, 0]


@every_kind
def test_packed_rows_are_separate_rows_with_and_without_a_state(kind):
    layer, x = _layer(**KINDS[kind]), _x(80)
    segment_ids = torch.tensor([[0] * 70 + [1] * 10, [3] * 9 + [4] * 1 + [5] * 70])
    whole, _ = layer(x, segment_ids, None)
    for row, cuts in enumerate(([70, 10], [9, 1, 70])):
        parts = [layer(part[None], None, None)[0] for part in x[row].split(cuts)]
        torch.testing.assert_close(whole[row : row + 1], torch.cat(parts, 1), **EXACT)
    state, cuts = layer.init_state(2, 80, x.dtype, x.device), [4, 5, 1, 1, 64, 1, 4]
    parts = [layer(part, ids, state)[0] for part, ids in zip(x.split(cuts, 1), segment_ids.split(cuts, 1), strict=True)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)


@every_kind
def test_left_padding_changes_nothing(kind):
    layer, x = _layer(**KINDS[kind]), _x(20)
    padded = torch.cat([_x(5, seed=1), x], 1)
    segment_ids = torch.tensor([[-1] * 5 + [0] * 20] * 2)
    plain, whole = layer(x, None, None)[0], layer(padded, segment_ids, None)[0]
    state = layer.init_state(2, 25, x.dtype, x.device)
    cuts = [3, 22]
    parts = [
        layer(part, ids, state)[0] for part, ids in zip(padded.split(cuts, 1), segment_ids.split(cuts, 1), strict=True)
    ]
    for found in (whole, torch.cat(parts, 1)):
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found[:, 5:], plain, **EXACT)


@every_kind
def test_it_is_causal_and_rows_are_independent(kind):
    layer, x = _layer(**KINDS[kind]), _x(70)
    before, _ = layer(x, None, None)
    for changed in (0, 31, 64, 69):
        other = x.clone()
        other[0, changed] += 1
        after, _ = layer(other, None, None)
        assert torch.equal(after[0, :changed], before[0, :changed]) and torch.equal(after[1], before[1])
        assert not torch.equal(after[0, changed], before[0, changed])


def test_autocast_keeps_the_state_precise():
    layer, x = _layer(64).float(), _x(100, 64).float()
    state = layer.init_state(2, 100, torch.bfloat16, x.device)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        y = torch.cat([layer(part, None, state)[0] for part in x.split([97, 1, 1, 1], 1)], 1)
    assert state["S"].dtype == torch.float32 and y.dtype == torch.bfloat16
    expected, _ = layer(x, None, None)
    assert (y - expected).abs().max() < 0.03 * expected.abs().max()


def _initial(width=512, **arguments):
    torch.manual_seed(0)
    return GLA(GLA.Config(width, **arguments), lambda _: NoCanon())


@pytest.mark.parametrize(("kind", "low_rank"), [("gla", 0.02), ("gla5", 0.0707)])
def test_parameters_are_initialised_as_specified(kind, low_rank):
    for name, parameter in _initial(**KINDS[kind]).named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif name.startswith("norm"):
            assert torch.equal(parameter, torch.ones_like(parameter))
        else:
            low = name.startswith("decay") or (kind == "gla5" and name.startswith("gate"))
            assert parameter.std().item() == pytest.approx(low_rank if low else 0.02, rel=0.04), name


def test_parameters_counted_by_hand():
    def count(layer):
        return sum(p.numel() for p in layer.parameters())

    d = 512
    decay = 16 * d + 16 * d // 2 + d // 2
    assert count(_initial()) == (d // 2 + d // 2 + d) * d + d * d + d * d + decay + d // 4  # q, k, v; gate; out; norm
    gate = 16 * d + 16 * 2 * d + 2 * d
    gla5 = (d + d + 2 * d) * d + gate + 2 * d * d + (16 * d + 16 * d + d) + 2 * d // 4 + 4 * 4 * d
    assert count(_initial(**GLA5)) == gla5


def test_canon_b_spans_queries_keys_and_values_and_no_gate():
    widths = []
    GLA(GLA.Config(16), lambda width: widths.append(width) or NoCanon())
    assert widths == [8 + 8 + 16]


def test_the_layer_is_its_formula_written_out():
    layer, x = _layer(canon="", feature_map="elu"), _x(9)
    q, k, v = layer.qkv(x).split([8, 8, 16], -1)
    q, k = (F.elu(part) + 1 for part in (q, k))
    a = torch.sigmoid(x @ layer.decay[0].weight.T @ layer.decay[1].weight.T + layer.decay[1].bias) ** (1 / 16)
    heads = []
    for head in range(2):
        keys, values = slice(4 * head, 4 * head + 4), slice(8 * head, 8 * head + 8)
        state, outputs = torch.zeros(2, 4, 8, dtype=x.dtype), []
        for t in range(9):
            state = a[:, t, keys, None] * state + k[:, t, keys, None] * v[:, t, None, values]
            o = torch.einsum("bkv,bk->bv", state, q[:, t, keys]) / 4**0.5
            outputs.append(o / (o.square().mean(-1, keepdim=True) + 1e-6).sqrt())
        heads.append(torch.stack(outputs, 1))
    gate = x @ layer.gate.weight.T
    expected = (torch.cat(heads, -1) * gate * torch.sigmoid(gate)) @ layer.out.weight.T
    torch.testing.assert_close(layer(x, None, None)[0], expected, **EXACT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "key_share = 0.5: key_share * width = 8 must be a multiple of the 3 heads"),
        ({"heads": 0}, "heads = 0"),
        ({"key_share": 0.01}, "key_share = 0.01: of the width 16 is no whole number"),
        ({"key_share": 1e-9}, "key_share = 1e-09: must be a positive number"),
        ({"value_share": 1.1}, "value_share = 1.1"),
        ({"gate_rank": -1}, "gate_rank = -1"),
        ({"feature_map": "relu"}, "unknown feature_map 'relu'; did you mean 'elu'"),
    ],
)
def test_what_does_not_fit_is_said(arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        GLA.Config(16, **arguments)


@pytest.mark.parametrize(("time", "computed"), [(2, 2), (3, 4), (33, 64), (64, 64), (65, 128)])
def test_a_short_sequence_is_one_chunk_that_just_holds_it(monkeypatch, time, computed):
    seen = []
    monkeypatch.setattr(
        linear, "ChannelDecays", lambda decay: seen.append(decay.shape[1] * decay.shape[3]) or ChannelDecays(decay)
    )
    chunked(*_inputs(time)[:4], 0.5)
    assert seen == [computed]


@pytest.mark.slow
def test_it_compiles_to_one_graph_whose_size_is_the_same_at_any_length():
    sizes = []

    def count(graph, _):
        sizes.append(len(graph.graph.nodes))
        return graph.forward

    for time in (128, 1024):
        torch._dynamo.reset()
        layer, x = _layer(), _x(time)
        segment_ids = torch.zeros(2, time, dtype=torch.int64)
        compiled, _ = torch.compile(layer, backend=count, fullgraph=True, dynamic=False)(x, segment_ids, None)
        torch.testing.assert_close(compiled, layer(x, segment_ids, None)[0], **EXACT)
    assert len(sizes) == 2 and sizes[0] == sizes[1]


def test_the_activation_of_the_released_code_is_where_there_is_no_convolution():
    plain, silu = _layer(canon="B"), _layer(canon="B", qkv_activation="silu")
    x = _x(20)
    with torch.no_grad():
        qkv = silu.canon(silu.qkv(x))
    assert not torch.allclose(plain(x, None, None)[0], silu(x, None, None)[0])
    seen = []
    silu.conv.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    silu(x, None, None)
    torch.testing.assert_close(seen[0], F.silu(qkv))
    with_conv, same = _layer(conv1d=True), _layer(conv1d=True, qkv_activation="silu")
    assert torch.equal(with_conv(x, None, None)[0], same(x, None, None)[0])
    with pytest.raises(InputError, match="unknown qkv_activation 'relu'"):
        GLA.Config(16, qkv_activation="relu")
