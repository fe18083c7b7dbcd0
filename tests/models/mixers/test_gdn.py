"""Gated DeltaNet: its forms against each other and against the equations of the paper, and how it is initialised."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.canon import Canon
from canonlab.errors import InputError
from canonlab.models.canon_points import CanonConfig
from canonlab.models.mixers import linear
from canonlab.models.mixers.gdn import GatedDeltaNet

LENGTHS = (1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 130, 200)
EXACT = {"rtol": 1e-9, "atol": 1e-9}
SCALE = 0.3


def recurrent(q, k, v, beta, log_decay, scale, initial=None, ids=None, form=linear.recurrent, **options):
    more = {"read_BTHK": k, "initial_BHKV": initial, "segment_ids": ids, **options}
    return form(scale * q, beta[..., None] * k, v, log_decay, **more)


chunked = partial(recurrent, form=linear.chunked)

VARIANTS = {
    "gdn": {},
    "noconv1d": {"conv1d": False},
    "Canon-B": {"conv1d": False, "points": "B"},
    "gdn-wide": {"key_share": 1.0, "value_share": 2.0, "gate_rank": 16},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)
both_forms = pytest.mark.parametrize("form", [recurrent, chunked])


def inputs(time: int, batch: int = 2, heads: int = 3, keys: int = 5, values: int = 4) -> list[Tensor]:
    """q, k, v, beta, log decays from -1e-4 to -20, initial state; float64."""
    torch.manual_seed(0)
    q, k = (F.normalize(torch.randn(batch, time, heads, keys).double(), dim=-1) for _ in range(2))
    v, initial = torch.randn(batch, time, heads, values), torch.randn(batch, heads, keys, values)
    beta = torch.rand(batch, time, heads)
    log_decay = -torch.empty(batch, time, heads).uniform_(math.log(1e-4), math.log(20)).exp()
    return [x.double().requires_grad_() for x in (q, k, v, beta, log_decay, initial)]


def segments(time: int) -> Tensor:
    """Two rows of segments that start at odd places and span chunks; in the first row the id 0 comes back."""
    starts = torch.tensor([[0, 1, 7, 70, 90], [3, 60, 64, 65, 150]])
    ids = (torch.arange(time)[None, :, None] >= starts[:, None]).sum(-1)
    ids[0, ids[0] == 3] = 0
    return ids


def compare(form: Callable[..., Any], arguments: list[Tensor], ids: Tensor | None = None) -> None:
    """Outputs, final state and all gradients of `form` are those of the definition."""
    results = []
    for function in (form, recurrent):
        o, final = function(*arguments[:5], SCALE, arguments[5], ids)
        torch.manual_seed(1)
        loss = sum((x * torch.randn(x.shape, dtype=x.dtype)).sum() for x in (o, final))
        results.append([o, final, *torch.autograd.grad(loss, arguments)])
    names = ["o", "final", "q", "k", "v", "beta", "log_decay", "initial"]
    for name, found, wanted in zip(names, *results, strict=True):
        torch.testing.assert_close(found, wanted, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


def build(points: str = "", width: int = 32, heads: int = 4, **config: Any) -> GatedDeltaNet:
    torch.manual_seed(0)
    config = GatedDeltaNet.Config(width, heads, **config)
    mixer = GatedDeltaNet(config, partial(CanonConfig(points).build, "B")).double()
    with torch.no_grad():  # as far from the start as training gets, and the norms of q and k from their epsilon
        for parameter in (
            mixer.qkv.weight,
            mixer.beta_and_decay.weight,
            *([mixer.conv.conv.weight] if mixer.conv else []),
        ):
            parameter *= 20
        mixer.norm.weight.uniform_(0.5, 2)
    return mixer


def by_the_equations(mixer: GatedDeltaNet, x_TD: Tensor) -> Tensor:
    """One sequence, token by token and head by head, with the state V x K as the paper has it."""
    qkv = x_TD @ mixer.qkv.weight.T
    if isinstance(mixer.canon, Canon):
        qkv = qkv + convolve(qkv, mixer.canon.weight)
    if mixer.conv is not None:
        qkv = convolve(qkv, mixer.conv.conv.weight)
    qkv = qkv / (1 + torch.exp(-qkv))
    keys, values = mixer.head_widths
    q_THK, k_THK, v_THV = (part.unflatten(-1, (mixer.heads, -1)) for part in qkv.split(mixer.widths, -1))
    q_THK, k_THK = (part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt() for part in (q_THK, k_THK))
    w_b, w_a = mixer.beta_and_decay.weight.chunk(2)
    beta_TH = 1 / (1 + torch.exp(-x_TD @ w_b.T))
    a_TH = torch.exp(-mixer.A_log.exp() * torch.log1p(torch.exp(x_TD @ w_a.T + mixer.dt_bias)))
    gate_TN = mixer.gate(x_TD)
    outputs = []
    memory = torch.zeros(mixer.heads, values, keys, dtype=x_TD.dtype)
    for t in range(len(x_TD)):
        o = torch.empty(mixer.heads, values, dtype=x_TD.dtype)
        for h in range(mixer.heads):
            k, v, beta, identity = k_THK[t, h], v_THV[t, h], beta_TH[t, h], torch.eye(keys, dtype=x_TD.dtype)
            memory[h] = a_TH[t, h] * memory[h] @ (identity - beta * torch.outer(k, k)) + beta * torch.outer(v, k)
            o[h] = memory[h] @ q_THK[t, h] / keys**0.5
            o[h] = o[h] / torch.sqrt(o[h].square().mean() + 1e-6) * mixer.norm.weight
        outputs.append(mixer.out.weight @ (o.flatten() * gate_TN[t] / (1 + torch.exp(-gate_TN[t]))))
    return torch.stack(outputs)


def convolve(x_TN: Tensor, taps: Tensor) -> Tensor:
    past = F.pad(x_TN, (0, 0, 3, 0))
    return sum(taps[lag] * past[3 - lag : len(past) - lag] for lag in range(4))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("time", LENGTHS)
def test_chunks_give_what_the_definition_gives_with_its_gradients(time, packed):
    compare(chunked, inputs(time), segments(time) if packed else None)


@pytest.mark.parametrize("chunk", [1, 3, 16, 100, 500])
def test_any_chunk_length_gives_the_same(chunk):
    compare(partial(chunked, chunk=chunk), inputs(75), segments(75))


@both_forms
def test_no_initial_state_is_one_of_zeros(form):
    *arguments, initial = inputs(70)
    found, wanted = form(*arguments, SCALE), form(*arguments, SCALE, torch.zeros_like(initial))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@both_forms
def test_the_state_is_all_that_a_sequence_leaves(form):
    *arguments, state = inputs(140)
    whole, final = form(*arguments, SCALE, state)
    parts = []
    for part in zip(*(x.split([1, 69, 64, 6], 1) for x in arguments), strict=True):
        o, state = form(*part, SCALE, state)
        parts.append(o)
    torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
    torch.testing.assert_close(state, final, **EXACT)


@both_forms
def test_segments_are_separate_runs(form):
    *arguments, initial = (x.detach()[:1] for x in inputs(140))
    lengths = [5, 60, 1, 2, 72]
    ids = torch.tensor([0, 1, 0, -1, 2]).repeat_interleave(torch.tensor(lengths))[None]
    packed, final = form(*arguments, SCALE, initial, ids)
    parts = []
    for i, part in enumerate(zip(*(x.split(lengths, 1) for x in arguments), strict=True)):
        o, last = form(*part, SCALE, initial if i == 0 else None)
        parts.append(o)
    torch.testing.assert_close(packed, torch.cat(parts, 1), **EXACT)
    torch.testing.assert_close(final, last, **EXACT)


@both_forms
def test_nothing_is_left_of_an_earlier_segment_however_large(form):
    q, k, v, beta, log_decay, initial = (x.detach() for x in inputs(140))
    ids = (torch.arange(140)[None] >= torch.tensor([[68], [100]])).long()
    results = []
    for huge in torch.tensor([1.0, 1e200], dtype=torch.float64):
        earlier = torch.where(ids == 0, huge, 1.0)[..., None, None]
        o, final = form(q, k, v * earlier, beta, log_decay, SCALE, initial * huge, ids)
        results.append((o[ids == 1], final))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(shape), dim=-1)


DECAYS = {
    "nothing": torch.zeros,
    "hardly anything": lambda shape: torch.full(shape, -1e-4),
    "everything": lambda shape: torch.full(shape, -1e5),
    "everything or hardly anything": lambda shape: torch.where(torch.rand(shape) < 0.1, -1e6, -1e-3),
}
"""What decays -> log decays of a shape. Sums that -1e6 takes part in have no digits left for -1e-3 in float32."""

KEYS = {
    "identical": lambda B, T, H, K: unit(B, 1, H, K).expand(B, T, H, K),
    "in turn": lambda B, T, H, K: unit(B, 3, H, K)[:, torch.arange(T) % 3],
    "random": unit,
    "of one dimension": lambda B, T, H, K: torch.eye(K)[0].expand(B, T, H, K),
}
BETAS = {
    "0": torch.zeros,
    "1": torch.ones,
    "0 or 1": lambda shape: torch.randint(0, 2, shape).float(),
    "any": torch.rand,
}


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("decays", DECAYS)
def test_extremes_have_the_gradients_of_the_definition(decays, betas, keys):
    torch.manual_seed(0)
    shape = (2, 70, 2)
    extreme = KEYS[keys](*shape, 4), torch.randn(*shape, 3), BETAS[betas](shape), DECAYS[decays](shape)
    arguments = [unit(*shape, 4), *extreme, torch.randn(2, 2, 4, 3)]
    compare(chunked, [x.double().clone().requires_grad_() for x in arguments], segments(70))


@cache
def extremes(decays, keys):
    """Arguments of 4096 tokens, and outputs and final state by the definition."""
    torch.manual_seed(0)
    shape = (1, 4096, 2)
    beta = torch.where(torch.arange(4096)[:, None] < 2048, BETAS["1"](shape), BETAS["0 or 1"](shape))
    arguments = [unit(*shape, 16), KEYS[keys](*shape, 16), torch.randn(*shape, 8), beta, DECAYS[decays](shape)]
    arguments.append(torch.randn(1, 2, 16, 8))
    with torch.no_grad():
        exact = [x.double() for x in arguments]
        return arguments, recurrent(*exact[:5], SCALE, exact[5])


@pytest.mark.parametrize("precision, tolerance", [("fp32", 1e-4), ("bf16", 5e-2)])
@pytest.mark.parametrize("keys", ["identical", "in turn", "random"])
@pytest.mark.parametrize("decays", DECAYS)
def test_extremes_stay_finite_and_precise_over_4096_tokens(decays, keys, precision, tolerance):
    arguments, wanted = extremes(decays, keys)
    *arguments, initial = (x.clone().requires_grad_() for x in arguments)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        found = chunked(*arguments, SCALE, initial)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < tolerance * b.norm() + 1e-20
    sum(x.square().sum() for x in found).backward()
    assert all(torch.isfinite(x.grad).all() for x in (*arguments, initial))


@every_variant
def test_the_layer_is_the_equations(variant):
    mixer = build(**VARIANTS[variant])
    x = torch.randn(2, 70, 32, dtype=torch.float64)
    with torch.no_grad():
        y, state = mixer(x, None, None)
        wanted = torch.stack([by_the_equations(mixer, row) for row in x])
    assert state is None
    torch.testing.assert_close(y, wanted, **EXACT)


@every_variant
def test_prefill_in_odd_pieces_and_steps_equal_the_forward(variant):
    mixer = build(**VARIANTS[variant]).requires_grad_(False)
    x, ids = torch.randn(2, 150, 32, dtype=torch.float64), segments(150)
    pieces = [1, 69, 1, 1, 3, 64, 1, 9, 1]
    for segment_ids in (None, ids):
        whole, _ = mixer(x, segment_ids, None)
        state = mixer.init_state(2, 150, torch.float64, torch.device("cpu"))
        memory, parts = state["S"].data_ptr(), []
        for part, seen in zip(x.split(pieces, 1), ids.split(pieces, 1), strict=True):
            y, returned = mixer(part, None if segment_ids is None else seen, state)
            assert returned is state
            parts.append(y)
        torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
        assert state["S"].data_ptr() == memory
        assert torch.equal(state["segment"], torch.zeros(2) if segment_ids is None else ids[:, -1])


@every_variant
def test_left_padding_changes_nothing(variant):
    mixer = build(**VARIANTS[variant]).requires_grad_(False)
    x = torch.randn(2, 90, 32, dtype=torch.float64)
    padded = torch.cat([1e6 * torch.randn(2, 67, 32, dtype=torch.float64), x], 1)
    ids = torch.tensor([[-1] * 67 + [0] * 90] * 2)
    wanted, _ = mixer(x, None, None)
    torch.testing.assert_close(mixer(padded, ids, None)[0][:, 67:], wanted, **EXACT)
    state = mixer.init_state(2, 157, torch.float64, torch.device("cpu"))
    parts = [
        mixer(part, seen, state)[0]
        for part, seen in zip(padded.split([66, 1, 1, 89], 1), ids.split([66, 1, 1, 89], 1), strict=True)
    ]
    torch.testing.assert_close(torch.cat(parts[2:], 1), wanted, **EXACT)


@every_variant
def test_no_token_changes_an_earlier_output(variant):
    mixer = build(**VARIANTS[variant]).requires_grad_(False)
    x = torch.randn(1, 130, 32, dtype=torch.float64)
    before, _ = mixer(x, None, None)
    for changed in (0, 1, 62, 63, 64, 65, 128, 129):
        other = x.clone()
        other[0, changed] += 1
        after, _ = mixer(other, None, None)
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert not torch.equal(after[:, changed], before[:, changed])


def test_the_rows_of_a_batch_do_not_meet():
    mixer = build().requires_grad_(False)
    x, ids = torch.randn(2, 80, 32, dtype=torch.float64), segments(80)
    both, _ = mixer(x, ids, None)
    for row in (slice(0, 1), slice(1, 2)):
        torch.testing.assert_close(both[row], mixer(x[row], ids[row], None)[0], **EXACT)


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # of a norm whose weight is in half precision too
def test_half_precision_keeps_the_state_single():
    mixer = build().float()
    state = mixer.init_state(3, 9, torch.bfloat16, torch.device("cpu"))
    assert state["segment"].tolist() == [-1] * 3
    with torch.autocast("cpu", torch.bfloat16):
        for time in (4, 1):
            y, _ = mixer(torch.randn(3, time, 32), None, state)
    assert y.dtype == torch.bfloat16
    assert state["S"].dtype == torch.float32
    assert not state["S"].requires_grad
    assert state["S"].abs().max() > 0
    assert state["segment"].tolist() == [0] * 3
    assert all(tensor.shape[0] == 3 for tensor in (state["S"], state["segment"], *state["conv"].values()))
    half = build().bfloat16()
    assert half(torch.randn(3, 70, 32, dtype=torch.bfloat16), None, None)[0].dtype == torch.bfloat16


def test_without_its_convolution_the_silu_stays():
    with_conv, without = build(), build(conv1d=False)
    without.load_state_dict(with_conv.state_dict(), strict=False)
    with torch.no_grad():  # a convolution that passes the token on
        with_conv.conv.conv.weight.copy_(torch.eye(4, 1))
    x = torch.randn(1, 20, 32, dtype=torch.float64)
    torch.testing.assert_close(with_conv(x, None, None)[0], without(x, None, None)[0], **EXACT)


def test_point_b_is_on_q_k_and_v_alone():
    asked: list[int] = []

    def canon(width: int) -> Any:
        asked.append(width)
        return CanonConfig("B").build("B", width)

    mixer = GatedDeltaNet(GatedDeltaNet.Config(512, 4, conv1d=False), canon)
    assert asked == [384 + 384 + 768]
    assert mixer.canon.weight.shape == (4, 1536)


@pytest.mark.parametrize("width, heads", [(512, 4), (768, 6), (2048, 12)])
@pytest.mark.parametrize("conv1d", [False, True])
def test_parameters_counted_by_hand(width, heads, conv1d):
    d = width
    config = GatedDeltaNet.Config(d, heads, conv1d=conv1d)
    with torch.device("meta"):
        mixer = GatedDeltaNet(config, partial(CanonConfig().build, "B"))
    q, k, v, gate, out = 0.75 * d * d, 0.75 * d * d, 1.5 * d * d, 1.5 * d * d, 1.5 * d * d
    rates, head, norm, conv = 2 * heads * d, 2 * heads, 1.5 * d / heads, 4 * 3 * d
    total = q + k + v + gate + out + rates + head + norm + conv1d * conv
    assert sum(p.numel() for p in mixer.parameters()) == total
    assert total == pytest.approx(6 * d * d, rel=0.01)
    assert mixer.init_state(1, 9, torch.float32, torch.device("meta"))["S"].numel() * heads == 0.75 * 1.5 * d * d


def test_gdn_wide_has_the_same_size():
    d = 512
    config = GatedDeltaNet.Config(d, 4, key_share=1.0, value_share=2.0, gate_rank=16)
    mixer = GatedDeltaNet(config, partial(CanonConfig().build, "B"))
    q, k, v, out, gate = d * d, d * d, 2 * d * d, 2 * d * d, 16 * (d + 2 * d) + 2 * d
    total = q + k + v + out + gate + 2 * 4 * d + 2 * 4 + 2 * d // 4 + 4 * 4 * d
    assert sum(p.numel() for p in mixer.parameters()) == total
    assert total == pytest.approx(6 * d * d, rel=0.03)
    assert mixer.head_widths == (d // 4, d // 2)


def test_initial_parameters():
    torch.manual_seed(0)
    config = GatedDeltaNet.Config(512, 128, gate_rank=16)
    mixer = GatedDeltaNet(config, partial(CanonConfig().build, "B"))
    full = GatedDeltaNet(GatedDeltaNet.Config(512, 4), partial(CanonConfig().build, "B"))
    spread = {
        0.02: [mixer.qkv, mixer.beta_and_decay, mixer.out, full.gate, mixer.conv.conv],
        (0.02 / 4) ** 0.5: list(mixer.gate),
    }
    for std, layers in spread.items():
        for layer in layers:
            assert layer.weight.std().item() == pytest.approx(std, rel=0.03)
            assert abs(layer.weight.mean().item()) < 0.05 * std
    assert torch.equal(mixer.norm.weight, torch.ones(6))
    assert torch.equal(mixer.gate[1].bias, torch.zeros(768))
    others = [name for name, _ in mixer.named_parameters() if name.endswith("bias")]
    assert others == ["dt_bias", "gate.1.bias"]


def test_initial_decays():
    torch.manual_seed(0)
    mixer = GatedDeltaNet(GatedDeltaNet.Config(4096, 1024), partial(CanonConfig().build, "B"))
    decays, steps = mixer.A_log.exp(), F.softplus(mixer.dt_bias)
    assert 0 < decays.min() < 0.1 < 15.9 < decays.max() <= 16
    assert decays.mean().item() == pytest.approx(8, rel=0.05)
    assert decays.std().item() == pytest.approx(16 / 12**0.5, rel=0.05)
    assert 0.999e-3 < steps.min() < 1.1e-3
    assert 0.09 < steps.max() < 0.1001
    assert steps.log().mean().item() == pytest.approx(math.log(1e-2), rel=0.05)
    assert steps.log().std().item() == pytest.approx(math.log(100) / 12**0.5, rel=0.05)
    assert all(p.ndim == 1 for p in (mixer.A_log, mixer.dt_bias))  # so that no optimizer decays them


def test_a_draw_of_zero_decays_nothing(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 1 - 2.0**-24))  # the largest draw
    mixer = GatedDeltaNet(GatedDeltaNet.Config(32, 4), partial(CanonConfig().build, "B"))
    assert torch.isfinite(mixer.A_log).all()
    assert (mixer.A_log.exp() < 1e-6).all()


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 16])
def test_narrow_widths_come_out_whole(heads):
    mixer = build(width=64, heads=heads)
    state = mixer.init_state(2, 9, torch.float64, torch.device("cpu"))
    assert state["S"].shape == (2, heads, 48 // heads, 96 // heads)
    assert mixer(torch.randn(2, 9, 64, dtype=torch.float64), None, state)[0].shape == (2, 9, 64)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"heads": 0}, "heads = 0: must be an integer of at least 1"),
        (
            {"heads": 5},
            r"heads = 5: must divide the key width 24 and .* width 48 of width 32 \(allowed: 1, 2, 3, 4, 6,",
        ),
        ({"heads": 4, "width": 30}, r"key_share = 0.75: of the width 30 is no whole number .*multiples of 4"),
        ({"heads": 4, "value_share": -1.0}, "value_share = -1.0: must be a positive number"),
        ({"heads": 4, "key_share": math.nan}, "key_share = nan: must be a positive number"),
        ({"heads": 4, "gate_rank": -1}, "gate_rank = -1: must be an integer from 0 to 65536"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        GatedDeltaNet.Config(**{"width": 32, **arguments})


def graph_sizes(module: torch.nn.Module, *arguments: Any) -> list[int]:
    """The nodes of each graph that a compiler gets for a forward pass."""
    sizes: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        sizes.append(len(graph.graph.nodes))
        return graph.forward

    torch._dynamo.reset()
    torch.compile(module, backend=backend, fullgraph=True, dynamic=False)(*arguments)
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_one_graph_whatever_the_number_of_chunks(packed):
    mixer = build().float()
    sizes = [
        graph_sizes(mixer, torch.randn(2, time, 32), segments(time) if packed else None, None) for time in (128, 1024)
    ]
    assert len(sizes[0]) == 1
    assert sizes[0] == sizes[1]


@pytest.mark.slow
def test_compiled_equals_eager():
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(4))
    except Exception as error:
        pytest.skip(f"torch.compile does not work here: {error}")
    mixer, x, ids = build().float(), torch.randn(2, 150, 32), segments(150)
    results = []
    for form in (mixer, torch.compile(mixer, fullgraph=True, dynamic=False)):
        mixer.zero_grad()
        y, _ = form(x, ids, None)
        y.square().sum().backward()
        results.append([y, *(p.grad.clone() for p in mixer.parameters())])
    for wanted, found in zip(*results, strict=True):
        assert (found - wanted).norm() < 1e-4 * wanted.norm()


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_kernels_that_cannot_run_here_are_an_error():
    mixer = build()
    mixer.implementation = "fla"
    with pytest.raises(InputError, match="linear = 'fla'"):
        mixer(torch.randn(1, 9, 32, dtype=torch.float64), None, None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("packed", [False, True])
def test_the_kernels_of_fla_give_the_same(packed):
    pytest.importorskip("fla")
    mixer = build(width=256).float().cuda()
    x, ids = torch.randn(2, 200, 256, device="cuda"), segments(200).cuda() if packed else None
    results = []
    for implementation in ("torch", "fla"):
        mixer.implementation = implementation
        mixer.zero_grad()
        y, _ = mixer(x, ids, None)
        y.square().sum().backward()
        state = mixer.init_state(2, 200, torch.float32, torch.device("cuda"))
        with torch.no_grad():
            cached = [mixer(x[:, t], None if ids is None else ids[:, t], state)[0] for t in (slice(99), slice(99, 200))]
        results.append([y, *cached, state["S"], *(p.grad.clone() for p in mixer.parameters())])
    for wanted, found in zip(*results, strict=True):
        assert (found - wanted).norm() < 1e-2 * wanted.norm()


def test_canon_may_be_after_the_silu_as_released():
    before, after = (build("B", conv1d=False, canon_after=later) for later in (False, True))
    x, seen = torch.randn(1, 20, 32, dtype=torch.float64), []
    for mixer in (before, after):
        mixer.canon.register_forward_hook(lambda _, inputs, y: seen.append((inputs[0], y)))
        mixer(x, None, None)
    qkv = before.qkv(x)
    torch.testing.assert_close(seen[0][0], qkv)
    torch.testing.assert_close(seen[1][0], F.silu(qkv))
    assert not torch.allclose(F.silu(seen[0][1]), seen[1][1])
    state, parts = after.init_state(1, 20, torch.float64, torch.device("cpu")), []
    with torch.no_grad():
        for part in x.split([3, 1, 16], 1):
            parts.append(after(part, None, state)[0])
    torch.testing.assert_close(torch.cat(parts, 1), after(x, None, None)[0], **EXACT)
