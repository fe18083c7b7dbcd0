"""Mamba2: its three forms against each other and against the definition, and what it is initialised to."""

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
from canonlab.models.mixers.mamba2 import Mamba2, chunked, recurrent

LENGTHS = (1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130, 200)
EXACT = {"rtol": 1e-9, "atol": 1e-9}

either_variant = pytest.mark.parametrize("points, conv1d", [("none", False), ("none", True), ("B", False)])


def inputs(time: int, batch: int = 2, heads: int = 3, keys: int = 5, values: int = 4, seed: int = 0) -> list[Tensor]:
    """q, k, v, log decays from -1e-4 to -20, initial state; float64."""
    torch.manual_seed(seed)
    q, k, v = torch.randn(batch, time, keys), torch.randn(batch, time, keys), torch.randn(batch, time, heads, values)
    log_decay = -torch.empty(batch, time, heads).uniform_(math.log(1e-4), math.log(20)).exp()
    return [x.double().requires_grad_() for x in (q, k, v, log_decay, torch.randn(batch, heads, keys, values))]


def segments(time: int) -> Tensor:
    """Two rows of segments that start at odd places and span chunks; the id 0 comes back in the first row."""
    cuts = torch.tensor([[0, 1, 7, 70, 90], [3, 60, 64, 65, 150]])
    ids = (torch.arange(time)[None, :, None] >= cuts[:, None]).sum(-1)
    ids[0, ids[0] == 3] = 0
    return ids


def build(points: str = "none", conv1d: bool = True, width: int = 16, seed: int = 0, **config: Any) -> Mamba2:
    torch.manual_seed(seed)
    config = {"heads": 4, "state": 8} | config
    mixer = Mamba2(Mamba2.Config(width, conv1d=conv1d, **config), lambda width: CanonConfig(points).build("B", width))
    with torch.no_grad():
        mixer.in_proj.weight *= 3  # time steps and projections as far from uniform as training makes them
    return mixer.double()


def definition(mixer: Mamba2, u_TD: Tensor) -> Tensor:
    """One sequence through the layer by the spec's equations, token by token, in plain float64."""
    heads, state, inner = mixer.heads, mixer.state, mixer.D.numel() * (mixer.out_proj.in_features // mixer.heads)
    projected = u_TD @ mixer.in_proj.weight.T
    if isinstance(mixer.canon, Canon):
        projected = projected + _convolve(projected, mixer.canon.weight)
    z, xbc, dt = projected.split([inner, inner + 2 * state, heads], -1)
    if mixer.conv.state_dict():
        xbc = F.silu(_convolve(xbc, mixer.conv.conv.weight) + mixer.conv.bias)
    outputs = []
    memory = [torch.zeros(inner // heads, state, dtype=torch.float64) for _ in range(heads)]
    for t in range(len(u_TD)):
        x, b, c = xbc[t, :inner], xbc[t, inner : inner + state], xbc[t, inner + state :]
        y = []
        for h, x_h in enumerate(x.split(inner // heads)):
            delta = torch.log1p(torch.exp(dt[t, h] + mixer.dt_bias[h]))
            memory[h] = torch.exp(-delta * torch.exp(mixer.A_log[h])) * memory[h] + delta * torch.outer(x_h, b)
            y.append(memory[h] @ c + mixer.D[h] * x_h)
        gated = torch.cat(y) * z[t] * torch.sigmoid(z[t])
        normed = gated / torch.sqrt(gated.square().mean() + 1e-5) * mixer.norm.weight
        outputs.append(mixer.out_proj.weight @ normed)
    return torch.stack(outputs)


def _convolve(x_TD: Tensor, taps: Tensor) -> Tensor:
    past = F.pad(x_TD, (0, 0, 3, 0))
    return sum(taps[lag] * past[3 - lag : len(past) - lag] for lag in range(4))


def compare(fast: Callable[..., Any], arguments: list[Tensor], ids: Tensor | None) -> None:
    """Outputs, final state and gradients of `fast` are those of the recurrence."""
    results = []
    for form in (fast, recurrent):
        o, final = form(*arguments, ids)
        torch.manual_seed(1)
        loss = sum((x * torch.randn(x.shape, dtype=x.dtype)).sum() for x in (o, final))
        results.append([o, final, *torch.autograd.grad(loss, arguments)])
    for name, found, wanted in zip(["o", "final", "q", "k", "v", "log_decay", "initial"], *results, strict=True):
        torch.testing.assert_close(found, wanted, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("time", LENGTHS)
def test_chunks_give_what_the_recurrence_gives_with_its_gradients(time, packed):
    compare(chunked, inputs(time), segments(time) if packed else None)


@pytest.mark.parametrize("chunk", [1, 3, 16, 100, 500])
def test_any_chunk_length_gives_the_same(chunk):
    compare(partial(chunked, chunk=chunk), inputs(75), segments(75))


@pytest.mark.parametrize("form", [recurrent, chunked])
def test_the_state_is_all_that_a_sequence_leaves(form):
    q, k, v, log_decay, initial = inputs(140)
    whole, final = form(q, k, v, log_decay, initial)
    state, parts = initial, []
    for begin, end in ((0, 1), (1, 70), (70, 134), (134, 140)):
        part, state = form(q[:, begin:end], k[:, begin:end], v[:, begin:end], log_decay[:, begin:end], state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
    torch.testing.assert_close(state, final, **EXACT)


@pytest.mark.parametrize("form", [recurrent, chunked])
def test_segments_are_separate_runs_exactly(form):
    q, k, v, log_decay, initial = (x.detach()[:1] for x in inputs(140))
    lengths = [5, 60, 1, 2, 72]
    ids = torch.repeat_interleave(torch.tensor([0, 1, 0, -1, 2]), torch.tensor(lengths))[None]
    packed, final = form(q, k, v, log_decay, initial, ids)
    parts = zip(*(x.split(lengths, 1) for x in (q, k, v, log_decay)), strict=True)
    for i, part in enumerate(parts):
        o, last = form(*part, initial if i == 0 else None)
        torch.testing.assert_close(packed[:, sum(lengths[:i]) : sum(lengths[: i + 1])], o, **EXACT)
    torch.testing.assert_close(final, last, **EXACT)
    huge = [x.clone() for x in (q, k, v)]
    for x in huge:
        x[:, :68] = 1e150  # of segments that are over, nothing is left, however large
    after, final_after = form(*huge, log_decay, initial, ids)
    assert torch.equal(after[:, 68:], packed[:, 68:])
    assert torch.equal(final_after, final)


DECAYS = {
    "hardly any": lambda shape: torch.full(shape, -1e-4),
    "nearly everything": lambda shape: torch.full(shape, -1e3),
    "any size": lambda shape: -torch.empty(shape).uniform_(math.log(1e-4), math.log(1e3)).exp(),
    "one or the other": lambda shape: torch.where(torch.rand(shape) < 0.5, -1e-4, -1e3),
}


@pytest.mark.parametrize("decays", DECAYS)
def test_extreme_decays_have_the_gradients_of_the_recurrence(decays):
    q, k, v, _, initial = inputs(140)
    compare(chunked, [q, k, v, DECAYS[decays](v.shape[:3]).double().requires_grad_(), initial], segments(140))


@pytest.mark.parametrize("precision, tolerance", [("fp32", 2e-3), ("bf16", 3e-2)])
@pytest.mark.parametrize("decays", DECAYS)
def test_extreme_decays_over_4096_tokens(decays, precision, tolerance):
    q, k, v, _, initial = (x.detach()[:1] for x in inputs(4096))
    log_decay = DECAYS[decays](v.shape[:3]).double()
    wanted, wanted_final = recurrent(q, k, v, log_decay, initial)
    single = [x.float().requires_grad_() for x in (q, k, v, log_decay, initial)]
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        halves = [x.bfloat16() for x in single[:3]] if precision == "bf16" else single[:3]
        o, final = chunked(*halves, *single[3:])
    assert o.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert final.dtype == torch.float32
    assert (o - wanted).abs().max() < tolerance * wanted.abs().max()
    assert (final - wanted_final).abs().max() < tolerance * wanted_final.abs().max()
    (o.float().square().sum() + final.square().sum()).backward()
    assert all(torch.isfinite(x.grad).all() for x in single)


@either_variant
def test_the_layer_is_the_definition(points, conv1d):
    mixer = build(points, conv1d)
    x = torch.randn(2, 70, 16, dtype=torch.float64)
    y, state = mixer(x, None, None)
    assert state is None
    torch.testing.assert_close(y, torch.stack([definition(mixer, row) for row in x]), **EXACT)


@either_variant
def test_prefill_in_odd_pieces_and_steps_equal_the_forward(points, conv1d):
    mixer = build(points, conv1d).requires_grad_(False)
    x, ids = torch.randn(2, 150, 16, dtype=torch.float64), segments(150)
    for segment_ids in (ids, None):
        whole, _ = mixer(x, segment_ids, None)
        state = mixer.init_state(2, 150, torch.float64, torch.device("cpu"))
        storage, pieces = state["S"].data_ptr(), [1, 69, 1, 1, 3, 64, 1, 9, 1]
        parts = [
            mixer(part, None if segment_ids is None else seen, state)[0]
            for part, seen in zip(x.split(pieces, 1), ids.split(pieces, 1), strict=True)
        ]
        torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
        assert state["S"].data_ptr() == storage


def test_a_state_is_float32_batch_first_and_without_gradients():
    mixer = build("B", False).float()
    state = mixer.init_state(3, 9, torch.bfloat16, torch.device("cpu"))
    assert state["S"].shape == (3, 4, 8, 8)
    assert state["segment"].tolist() == [-1] * 3
    with torch.autocast("cpu", torch.bfloat16):
        for time in (4, 1):
            y, returned = mixer(torch.randn(3, time, 16), None, state)
    assert returned is state
    assert y.dtype == torch.bfloat16
    assert state["S"].dtype == torch.float32
    assert not state["S"].requires_grad
    assert state["S"].abs().max() > 0
    assert state["segment"].tolist() == [0] * 3


def test_another_segment_begins_without_what_the_state_remembers():
    mixer = build().requires_grad_(False)
    x = torch.randn(2, 12, 16, dtype=torch.float64)
    state = mixer.init_state(2, 12, torch.float64, torch.device("cpu"))
    ids = torch.tensor([[4] * 6 + [5] * 6, [-1] * 6 + [0] * 6])
    mixer(x[:, :6], ids[:, :6], state)
    first, _ = mixer(x[:, 6:7], ids[:, 6:7], state)
    rest, _ = mixer(x[:, 7:], ids[:, 7:], state)
    torch.testing.assert_close(torch.cat([first, rest], 1), mixer(x[:, 6:], None, None)[0], **EXACT)


@either_variant
def test_left_padding_changes_nothing(points, conv1d):
    mixer = build(points, conv1d).requires_grad_(False)
    x = torch.randn(2, 90, 16, dtype=torch.float64)
    padded = torch.cat([1e6 * torch.randn(2, 67, 16, dtype=torch.float64), x], 1)
    ids = torch.tensor([[-1] * 67 + [0] * 90] * 2)
    torch.testing.assert_close(mixer(padded, ids, None)[0][:, 67:], mixer(x, None, None)[0], **EXACT)


@either_variant
def test_no_token_changes_an_earlier_output(points, conv1d):
    mixer = build(points, conv1d).requires_grad_(False)
    x = torch.randn(1, 130, 16, dtype=torch.float64)
    before = mixer(x, None, None)[0]
    for changed in (0, 1, 30, 31, 32, 33, 64, 128, 129):
        other = x.clone()
        other[0, changed] += 1
        after = mixer(other, None, None)[0]
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert not torch.equal(after[:, changed], before[:, changed])


def test_rows_of_a_batch_do_not_meet():
    mixer = build("B", False).requires_grad_(False)
    x, ids = torch.randn(2, 80, 16, dtype=torch.float64), segments(80)
    both = mixer(x, ids, None)[0]
    for row in range(2):
        torch.testing.assert_close(both[row : row + 1], mixer(x[row : row + 1], ids[row : row + 1], None)[0], **EXACT)


@pytest.mark.parametrize("conv1d", [False, True])
def test_parameters_counted_by_hand(conv1d):
    d = 512
    mixer = Mamba2(Mamba2.Config(d, conv1d=conv1d), lambda width: CanonConfig().build("B", width))
    in_proj, out_proj, norm, per_head = d * (4 * d + 2 * 64 + 16), 2 * d * d, 2 * d, 3 * 16
    conv = 5 * (2 * d + 2 * 64)  # four taps and a bias
    total = in_proj + out_proj + norm + per_head + conv1d * conv
    assert sum(p.numel() for p in mixer.parameters()) == total
    assert total == pytest.approx(6 * d * d, rel=0.055)


def test_point_b_has_the_width_of_the_whole_projection():
    asked: list[int] = []

    def canon(width: int) -> Any:
        asked.append(width)
        return CanonConfig("B").build("B", width)

    mixer = Mamba2(Mamba2.Config(512, conv1d=False), canon)
    assert asked == [4 * 512 + 144]
    assert mixer.canon.weight.shape == (4, 4 * 512 + 144)


def test_initial_parameters():
    torch.manual_seed(0)
    mixer = Mamba2(Mamba2.Config(256, heads=512, state=32), lambda width: CanonConfig().build("B", width))
    for weight, fan_in in ((mixer.in_proj.weight, 256), (mixer.out_proj.weight, 512)):
        assert weight.abs().max().item() == pytest.approx(fan_in**-0.5, rel=0.01)  # uniform in +-1/sqrt(fan_in)
        assert weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.01)
    for parameter in mixer.conv.parameters():  # uniform in +-1/sqrt(4)
        assert parameter.abs().max().item() == pytest.approx(0.5, rel=0.02)
        assert parameter.std().item() == pytest.approx(12**-0.5, rel=0.05)
    torch.testing.assert_close(mixer.A_log.exp(), torch.arange(1.0, 513))
    assert torch.equal(mixer.D, torch.ones(512))
    assert torch.equal(mixer.norm.weight, torch.ones(512))
    steps = F.softplus(mixer.dt_bias).log()
    assert 1e-3 < steps.exp().min() < 1.1e-3
    assert 0.09 < steps.exp().max() < 0.1 + 1e-6
    assert steps.mean().item() == pytest.approx(math.log(1e-2), abs=0.2)  # log-uniform
    assert steps.std().item() == pytest.approx(math.log(100) / 12**0.5, rel=0.05)
    assert all(p.ndim == 1 for p in (mixer.A_log, mixer.D, mixer.dt_bias))  # so that no optimizer decays them


def test_uniform_decays():
    torch.manual_seed(0)
    config = Mamba2.Config(256, heads=512, state=32, decay_init="uniform")
    decays = Mamba2(config, lambda width: CanonConfig().build("B", width)).A_log.exp()
    assert 1 <= decays.min() < 1.2
    assert 15.8 < decays.max() <= 16
    assert decays.std().item() == pytest.approx(15 / 12**0.5, rel=0.05)


@pytest.mark.parametrize("conv1d", [False, True])
def test_mimetic_initialisation(conv1d):
    torch.manual_seed(0)
    config = Mamba2.Config(64, heads=4, init="mimetic", conv1d=conv1d)
    mixer = Mamba2(config, lambda width: CanonConfig().build("B", width)).requires_grad_(False)
    z, x, b, c, dt = mixer.in_proj.weight.split([128, 128, 64, 64, 4])
    assert torch.equal(c, b)
    product = c.T @ b / (64 / (3 * 64))  # entries of b have the variance 1 / (3 width)
    torch.testing.assert_close(product.diagonal().mean(), torch.tensor(1.0), rtol=0.05, atol=0)
    assert (product - torch.eye(64)).std() < 0.2
    assert torch.equal(dt, torch.zeros_like(dt))
    assert z.std().item() == pytest.approx((3 * 64) ** -0.5, rel=0.05)
    assert x.std().item() == pytest.approx((3 * 64) ** -0.5, rel=0.05)
    torch.testing.assert_close(mixer.dt_bias, torch.full((4,), 0.5413249))  # softplus of it is 1
    torch.testing.assert_close(torch.exp(-mixer.A_log.exp()), torch.full((4,), math.exp(-math.exp(-8))))
    if conv1d:
        u = torch.randn(1, 9, 256)
        torch.testing.assert_close(mixer.conv(u), F.silu(u))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"heads": 5}, "heads = 5: must divide the inner width 32"),
        ({"heads": 0}, "heads = 0: must be an integer from 1 to 65536"),
        ({"state": 0}, "state = 0"),
        ({"decay_init": "unifrom"}, "unknown decay_init 'unifrom'; did you mean 'uniform'"),
        ({"init": "mimetics"}, "unknown init 'mimetics'; did you mean 'mimetic'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Mamba2.Config(16, **arguments)


def graph_sizes(module: torch.nn.Module, x: Tensor) -> list[int]:
    """The nodes of each graph that a compiler gets for one forward pass."""
    sizes: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        sizes.append(len(graph.graph.nodes))
        return graph.forward

    torch._dynamo.reset()
    torch.compile(module, backend=backend, fullgraph=True, dynamic=False)(x, None, None)
    return sizes


@pytest.mark.slow
def test_one_graph_whatever_the_number_of_chunks():
    mixer = build("B", False).float()
    (short,) = graph_sizes(mixer, torch.randn(1, 128, 16))
    (long,) = graph_sizes(mixer, torch.randn(1, 1024, 16))
    assert short == long


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_kernels_that_cannot_run_here_are_an_error():
    mixer = build()
    mixer.implementation = "fla"
    with pytest.raises(InputError, match="linear = 'fla'"):
        mixer(torch.randn(1, 9, 16, dtype=torch.float64), None, None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("packed", [False, True])
def test_the_kernels_of_fla_give_the_same(packed):
    pytest.importorskip("fla")
    mixer = build(width=128, state=64).float().cuda()
    x, ids = torch.randn(2, 200, 128, device="cuda"), segments(200).cuda() if packed else None
    results = []
    for implementation in ("torch", "fla"):
        mixer.implementation = implementation
        mixer.zero_grad()
        state = mixer.init_state(2, 200, torch.float32, torch.device("cuda"))
        y, _ = mixer(x, ids, None)
        y.square().sum().backward()
        with torch.no_grad():
            cached = [mixer(x[:, t], None if ids is None else ids[:, t], state)[0] for t in (slice(99), slice(99, 200))]
        results.append([y, *cached, state["S"], *(p.grad.clone() for p in mixer.parameters())])
    for found, wanted in zip(*results, strict=True):
        assert (found - wanted).abs().max() < 5e-3 * wanted.abs().max()
