"""Mamba3: the shifted form against the definition, the layer against a complex recurrence, and its initial values."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.canon import Canon
from canonlab.errors import InputError
from canonlab.models.canon_points import CanonConfig
from canonlab.models.mixers import mamba2
from canonlab.models.mixers.mamba3 import Mamba3, recurrent, shifted, turn

LENGTHS = (1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130, 200)
EXACT = {"rtol": 1e-9, "atol": 1e-9}
CPU = torch.device("cpu")

either_variant = pytest.mark.parametrize("points", ["none", "B"])


def inputs(time: int, batch: int = 2, heads: int = 3, keys: int = 5, values: int = 4, seed: int = 0) -> list[Tensor]:
    """q, k, v, log decays from -1e-4 to -20, steps, shares, and the past: S, k and v; float64."""
    torch.manual_seed(seed)
    q, k, v = (torch.randn(batch, time, heads, width) for width in (keys, keys, values))
    log_decay = -torch.empty(batch, time, heads).uniform_(math.log(1e-4), math.log(20)).exp()
    step, share = F.softplus(2 * torch.randn(batch, time, heads)), torch.rand(batch, time, heads)
    past = (torch.randn(batch, heads, keys, values), torch.randn(batch, heads, keys), torch.randn(batch, heads, values))
    return [x.double().requires_grad_() for x in (q, k, v, log_decay, step, share, *past)]


def segments(time: int) -> Tensor:
    """Two rows of segments that start at odd places and span chunks; the id 0 comes back in the first row."""
    cuts = torch.tensor([[0, 1, 7, 70, 90], [3, 60, 64, 65, 150]])
    ids = (torch.arange(time)[None, :, None] >= cuts[:, None]).sum(-1)
    ids[0, ids[0] == 3] = 0
    return ids


def build(points: str = "none", width: int = 16, seed: int = 0, **config: Any) -> Mamba3:
    """A layer as far from its initial biases, norms and gates as training makes it."""
    torch.manual_seed(seed)
    config = {"heads": 4, "state": 8} | config
    mixer = Mamba3(Mamba3.Config(width, **config), lambda width: CanonConfig(points).build("B", width))
    with torch.no_grad():
        mixer.in_proj.weight *= 3
        for parameter in (mixer.B_bias, mixer.C_bias, mixer.B_norm.weight, mixer.C_norm.weight, mixer.D):
            parameter.add_(torch.randn_like(parameter))
    return mixer.double()


def definition(mixer: Mamba3, u_TD: Tensor) -> Tensor:
    """One sequence through the layer, token by token, as the paper begins: with a state of complex numbers.

    A pair of dimensions is one complex number, which a step multiplies by exp(Delta (A - i theta)).
    """
    heads, keys, inner, pairs = mixer.heads, mixer.state, mixer.inner, mixer.widths[-1]
    projected = u_TD @ mixer.in_proj.weight.T
    if isinstance(mixer.canon, Canon):
        past = F.pad(projected, (0, 0, 3, 0))
        projected = projected + sum(mixer.canon.weight[lag] * past[3 - lag : len(past) - lag] for lag in range(4))
    z, x, b, c, dt, rate, share, theta = projected.split([inner, inner, keys, keys, heads, heads, heads, pairs], -1)

    def numbers(x_K: Tensor, norm: torch.nn.Module, bias_K: Tensor) -> Tensor:
        x_K = x_K / torch.sqrt(x_K.square().mean() + 1e-5) * norm.weight + bias_K
        return torch.cat([torch.complex(x_K[:pairs], x_K[pairs : 2 * pairs]), x_K[2 * pairs :]])

    memory = [torch.zeros(keys - pairs, inner // heads, dtype=torch.complex128) for _ in range(heads)]
    written, outputs = list(memory), []
    for t in range(len(u_TD)):
        y = []
        for h, x_h in enumerate(x[t].split(inner // heads)):
            delta = torch.log1p(torch.exp(dt[t, h] + mixer.dt_bias[h]))
            decay = torch.clamp(-torch.log1p(torch.exp(rate[t, h])), max=-1e-4)
            frequency = torch.cat([math.pi * torch.tanh(theta[t]), theta.new_zeros(keys - 2 * pairs)])
            across = torch.exp(delta * torch.complex(decay.expand(keys - pairs), -frequency))[:, None]
            end = torch.sigmoid(share[t, h])
            memory[h] = across * (memory[h] + (1 - end) * delta * written[h])
            written[h] = torch.outer(numbers(b[t], mixer.B_norm, mixer.B_bias[h]), x_h.to(memory[h].dtype))
            memory[h] = memory[h] + end * delta * written[h]
            read = numbers(c[t], mixer.C_norm, mixer.C_bias[h])
            y.append((read.conj() @ memory[h]).real + mixer.D[h] * x_h)
        outputs.append(mixer.out_proj.weight @ (torch.cat(y) * z[t] * torch.sigmoid(z[t])))
    return torch.stack(outputs)


def compare(fast: Callable[..., Any], arguments: list[Tensor], ids: Tensor | None) -> None:
    """Outputs, what the next token needs, and gradients of `fast` are those of the recurrence."""
    results = []
    for form in (fast, recurrent):
        o, past = form(*arguments[:6], tuple(arguments[6:]), ids)
        torch.manual_seed(1)
        loss = sum((x * torch.randn(x.shape, dtype=x.dtype)).sum() for x in (o, *past))
        results.append([o, *past, *torch.autograd.grad(loss, arguments)])
    names = ["o", "S", "k", "v", *(f"gradient of {n}" for n in ("q", "k", "v", "log_decay", "step", "share"))]
    for name, found, wanted in zip([*names, "past S", "past k", "past v"], *results, strict=True):
        torch.testing.assert_close(found, wanted, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("time", LENGTHS)
def test_the_shifted_form_gives_what_the_recurrence_gives_with_its_gradients(time, packed):
    compare(shifted, inputs(time), segments(time) if packed else None)


@pytest.mark.parametrize("packed", [False, True])
def test_compiled_loops_give_the_same(packed):
    compare(partial(shifted, implementation="numba"), inputs(75), segments(75) if packed else None)


GATES = {
    "hardly any": lambda shape: (torch.full(shape, -1e-4), torch.full(shape, 1e-3), torch.ones(shape)),
    "nearly everything": lambda shape: (torch.full(shape, -1e3), torch.full(shape, 1e3), torch.rand(shape)),
    "one or the other": lambda shape: (
        torch.where(torch.rand(shape) < 0.5, -1e-4, -1e3),
        torch.where(torch.rand(shape) < 0.5, 1e-4, 1e3),
        torch.where(torch.rand(shape) < 0.5, 0.0, 1.0),
    ),
}


@pytest.mark.parametrize("gates", GATES)
def test_extreme_gates_have_the_gradients_of_the_recurrence(gates):
    arguments = inputs(140)
    arguments[3:6] = [x.double().requires_grad_() for x in GATES[gates](arguments[3].shape)]
    compare(shifted, arguments, segments(140))


@pytest.mark.parametrize("precision, tolerance", [("fp32", 2e-3), ("bf16", 3e-2)])
@pytest.mark.parametrize("gates", GATES)
def test_extreme_gates_over_4096_tokens(gates, precision, tolerance):
    arguments = [x.detach()[:1] for x in inputs(4096)]
    arguments[3:6] = [x.double() for x in GATES[gates](arguments[3].shape)]
    wanted, (wanted_state, *_) = recurrent(*arguments[:6], tuple(arguments[6:]))
    single = [x.float().requires_grad_() for x in arguments]
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        halves = [x.bfloat16() for x in single[:3]] if precision == "bf16" else single[:3]
        o, (state, *_) = shifted(*halves, *single[3:6], tuple(single[6:]))
    assert o.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert state.dtype == torch.float32
    assert (o - wanted).abs().max() < tolerance * wanted.abs().max()
    assert (state - wanted_state).abs().max() < tolerance * wanted_state.abs().max()
    (o.float().square().sum() + state.square().sum()).backward()
    assert all(torch.isfinite(x.grad).all() for x in single)


@pytest.mark.parametrize("form", [recurrent, shifted])
def test_the_past_is_all_that_a_sequence_leaves(form):
    *given, state, k, v = inputs(140)
    whole, final = form(*given, (state, k, v))
    past, parts = (state, k, v), []
    for begin, end in ((0, 1), (1, 70), (70, 134), (134, 140)):
        part, past = form(*(x[:, begin:end] for x in given), past)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
    for found, wanted in zip(past, final, strict=True):
        torch.testing.assert_close(found, wanted, **EXACT)


@pytest.mark.parametrize("form", [recurrent, shifted])
def test_segments_are_separate_runs_exactly(form):
    *given, state, k, v = (x.detach()[:1] for x in inputs(140))
    lengths = [5, 60, 1, 2, 72]
    ids = torch.repeat_interleave(torch.tensor([0, 1, 0, -1, 2]), torch.tensor(lengths))[None]
    packed, final = form(*given, (state, k, v), ids)
    parts = zip(*(x.split(lengths, 1) for x in given), strict=True)
    for i, part in enumerate(parts):
        o, last = form(*part, (state, k, v) if i == 0 else None)
        torch.testing.assert_close(packed[:, sum(lengths[:i]) : sum(lengths[: i + 1])], o, **EXACT)
    torch.testing.assert_close(final[0], last[0], **EXACT)
    huge = [x.clone() for x in given[:3]]
    for x in huge:
        x[:, :68] = 1e150  # of segments that are over, nothing is left, however large
    after, final_after = form(*huge, *given[3:], (state, k, v), ids)
    assert torch.equal(after[:, 68:], packed[:, 68:])
    assert torch.equal(final_after[0], final[0])


def test_with_the_whole_share_at_the_end_of_a_step_it_is_the_rule_of_mamba2():
    q, k, v, log_decay, step, share, state, *_ = (x.detach() for x in inputs(70, heads=1))
    found, (last, *_) = shifted(q, k, v, log_decay, step, torch.ones_like(share), (state, k[:, 0], v[:, 0]))
    wanted, final = mamba2.recurrent(q[:, :, 0], k[:, :, 0], step[..., None] * v, log_decay, state)
    torch.testing.assert_close(found, wanted, **EXACT)
    torch.testing.assert_close(last, final, **EXACT)


def test_a_turn_is_a_product_of_complex_numbers():
    x, angle = torch.randn(2, 3, 4, 7, dtype=torch.float64), torch.randn(2, 3, 4, 2, dtype=torch.float64)
    turned = turn(x, angle.cos(), angle.sin())
    product = torch.complex(x[..., :2], x[..., 2:4]) * torch.exp(1j * angle)
    torch.testing.assert_close(turned, torch.cat([product.real, product.imag, x[..., 4:]], -1), **EXACT)


@pytest.mark.parametrize("points, rotated", [("none", 0.5), ("B", 0.5), ("none", 1.0), ("none", 0.0), ("none", 0.9)])
def test_the_layer_is_the_definition_with_its_gradients(points, rotated):
    mixer = build(points, rotated=rotated)
    x = torch.randn(2, 70, 16, dtype=torch.float64, requires_grad=True)
    weight, wanted_of = torch.randn(2, 70, 16, dtype=torch.float64), [x, *mixer.parameters()]
    y, state = mixer(x, None, None)
    wanted = torch.stack([definition(mixer, row) for row in x])
    assert state is None
    torch.testing.assert_close(y, wanted, **EXACT)
    grads = [torch.autograd.grad((out * weight).sum(), wanted_of) for out in (y, wanted)]
    for found, expected in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


def test_steps_of_any_size_turn_as_the_definition_has_it():
    mixer = build().requires_grad_(False)
    mixer.dt_bias += torch.tensor([-9.0, 0.0, 9.0, 300.0], dtype=torch.float64)
    x = torch.randn(1, 70, 16, dtype=torch.float64)
    torch.testing.assert_close(mixer(x, None, None)[0][0], definition(mixer, x[0]), rtol=1e-8, atol=1e-8)


@either_variant
def test_prefill_in_odd_pieces_and_steps_equal_the_forward(points):
    mixer = build(points).requires_grad_(False)
    x, ids = torch.randn(2, 150, 16, dtype=torch.float64), segments(150)
    for segment_ids in (ids, None):
        whole, _ = mixer(x, segment_ids, None)
        state = mixer.init_state(2, 150, torch.float64, CPU)
        storage, pieces = [t.data_ptr() for n, t in state.items() if n != "canon"], [1, 69, 1, 1, 3, 64, 1, 9, 1]
        parts = [
            mixer(part, None if segment_ids is None else seen, state)[0]
            for part, seen in zip(x.split(pieces, 1), ids.split(pieces, 1), strict=True)
        ]
        torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
        assert [t.data_ptr() for n, t in state.items() if n != "canon"] == storage
        assert state["angle"].abs().max() <= math.pi + 1e-9


def test_a_state_is_float32_batch_first_and_without_gradients():
    mixer = build("B").float()
    state = mixer.init_state(3, 9, torch.bfloat16, CPU)
    assert {name: tuple(t.shape) for name, t in state.items() if name != "canon"} == {
        "S": (3, 4, 8, 8),
        "k": (3, 4, 8),
        "v": (3, 4, 8),
        "angle": (3, 4, 2),
        "segment": (3,),
    }
    with torch.autocast("cpu", torch.bfloat16):
        for time in (4, 1):
            y, returned = mixer(torch.randn(3, time, 16), None, state)
    assert returned is state
    assert y.dtype == torch.bfloat16
    assert state["S"].dtype == state["angle"].dtype == torch.float32
    for name in ("S", "k", "v", "angle"):
        assert not state[name].requires_grad
        assert state[name].abs().max() > 0
    assert state["segment"].tolist() == [0] * 3


def test_another_segment_begins_without_what_the_state_remembers():
    mixer = build().requires_grad_(False)
    x = torch.randn(2, 12, 16, dtype=torch.float64)
    state = mixer.init_state(2, 12, torch.float64, CPU)
    ids = torch.tensor([[4] * 6 + [5] * 6, [-1] * 6 + [0] * 6])
    mixer(x[:, :6], ids[:, :6], state)
    first, _ = mixer(x[:, 6:7], ids[:, 6:7], state)
    rest, _ = mixer(x[:, 7:], ids[:, 7:], state)
    torch.testing.assert_close(torch.cat([first, rest], 1), mixer(x[:, 6:], None, None)[0], **EXACT)


@either_variant
def test_left_padding_changes_nothing(points):
    mixer = build(points).requires_grad_(False)
    x = torch.randn(2, 90, 16, dtype=torch.float64)
    padded = torch.cat([1e6 * torch.randn(2, 67, 16, dtype=torch.float64), x], 1)
    ids = torch.tensor([[-1] * 67 + [0] * 90] * 2)
    torch.testing.assert_close(mixer(padded, ids, None)[0][:, 67:], mixer(x, None, None)[0], **EXACT)


@either_variant
def test_no_token_changes_an_earlier_output(points):
    mixer = build(points).requires_grad_(False)
    x = torch.randn(1, 130, 16, dtype=torch.float64)
    before = mixer(x, None, None)[0]
    for changed in (0, 1, 30, 31, 32, 33, 64, 128, 129):
        other = x.clone()
        other[0, changed] += 1
        after = mixer(other, None, None)[0]
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert not torch.equal(after[:, changed], before[:, changed])


def test_rows_of_a_batch_do_not_meet():
    mixer = build("B").requires_grad_(False)
    x, ids = torch.randn(2, 80, 16, dtype=torch.float64), segments(80)
    both = mixer(x, ids, None)[0]
    for row in range(2):
        torch.testing.assert_close(both[row : row + 1], mixer(x[row : row + 1], ids[row : row + 1], None)[0], **EXACT)


def test_parameters_counted_by_hand():
    d, state, heads, pairs = 512, 64, 16, 16
    mixer = Mamba3(Mamba3.Config(d), lambda width: CanonConfig().build("B", width))
    in_proj, out_proj = d * (4 * d + 2 * state + 3 * heads + pairs), 2 * d * d
    norms, biases, per_head = 2 * state, 2 * heads * state, 2 * heads  # of B and C; D and the bias of dt
    total = in_proj + out_proj + norms + biases + per_head
    assert sum(p.numel() for p in mixer.parameters()) == total
    assert total == pytest.approx(6 * d * d, rel=0.065)


def test_point_b_has_the_width_of_the_whole_projection_and_its_parts_are_keys_and_values():
    asked: list[int] = []

    def canon(width: int) -> Any:
        asked.append(width)
        return CanonConfig("B").build("B", width)

    config = Mamba3.Config(512)
    mixer = Mamba3(config, canon)
    assert asked == [4 * 512 + 2 * 64 + 3 * 16 + 16]
    assert mixer.canon.weight.shape == (4, asked[0])
    assert config.parts == {"K": (2048, 2112), "V": (1024, 2048)}


def test_initial_parameters():
    torch.manual_seed(0)
    mixer = Mamba3(Mamba3.Config(256, heads=512, state=32), lambda width: CanonConfig().build("B", width))
    for weight, fan_in in ((mixer.in_proj.weight, 256), (mixer.out_proj.weight, 512)):
        assert weight.abs().max().item() == pytest.approx(fan_in**-0.5, rel=0.01)  # uniform in +-1/sqrt(fan_in)
        assert weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.01)
    for ones in (mixer.D, mixer.B_bias, mixer.C_bias, mixer.B_norm.weight, mixer.C_norm.weight):
        assert torch.equal(ones, torch.ones_like(ones))
    steps = F.softplus(mixer.dt_bias).log()
    assert 1e-3 < steps.exp().min() < 1.1e-3
    assert 0.09 < steps.exp().max() < 0.1 + 1e-6
    assert steps.mean().item() == pytest.approx(math.log(1e-2), abs=0.2)  # log-uniform


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"heads": 5}, "heads = 5: must divide the inner width 32"),
        ({"heads": 0}, "heads = 0: must be an integer from 1 to 65536"),
        ({"state": 0}, "state = 0"),
        ({"rotated": 1.5}, "rotated = 1.5: must be a share of the state, from 0 to 1"),
        ({"rotated": math.nan}, "rotated = nan: must be a share"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Mamba3.Config(16, **arguments)


@pytest.mark.slow
def test_compiled_equals_eager():
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(4))
    except Exception as error:
        pytest.skip(f"torch.compile does not work here: {error}")
    mixer, x, ids = build().float(), torch.randn(2, 150, 16), segments(150)
    results = []
    for form in (mixer, torch.compile(mixer, fullgraph=True, dynamic=False)):
        mixer.zero_grad()
        y, _ = form(x, ids, None)
        y.square().sum().backward()
        results.append([y, *(p.grad.clone() for p in mixer.parameters())])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=2e-4, atol=2e-5)
