"""The mixture of experts beside its definition, one token at a time, in float64."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

from canonlab.errors import InputError
from canonlab.models import moe as module
from canonlab.models.canon_points import CanonConfig
from canonlab.models.mlp import MLPConfig
from canonlab.models.moe import MoE, choose_implementation, dropped_share, grouped_linear
from transforms import check_transforms, compiled_operators, exported

WIDTH, INNER, EXPERTS = 12, 10, 5
CONFIG = MLPConfig("moe", INNER)
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}

modes = pytest.mark.parametrize("training", [True, False])


def build(capacity: float = 1.0, activation: str = "silu", seed: int = 0) -> MoE:
    """Weights of trained size, so that experts differ and gates are far from uniform."""
    torch.manual_seed(seed)
    moe = MoE(replace(CONFIG, activation=activation), WIDTH, CanonConfig(), experts=EXPERTS, capacity=capacity).double()
    with torch.no_grad():
        for weight in moe.parameters():
            weight.mul_(25)
    return moe


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def segments_of(batch: int, time: int) -> Tensor:
    ids = torch.zeros(batch, time, dtype=torch.int64)
    ids[1, : time // 3] = -1
    ids[0, time // 2 :] = 1
    return ids


def by_definition(moe: MoE, x: Tensor, segments: Tensor | None, training: bool) -> tuple[Tensor, Tensor | None, float]:
    """Outputs, auxiliary loss and dropped share, by walking over rows and positions."""
    batch, time, _ = x.shape
    y = torch.zeros_like(x)
    limit = math.ceil(moe.capacity * time / EXPERTS)
    shares, choices, dropped = [], [], 0
    for b in range(batch):
        taken = [0] * EXPERTS
        for t in range(time):
            p = torch.softmax(moe.router @ x[b, t], 0)
            expert = int(p.argmax())
            padding = segments is not None and int(segments[b, t]) == -1
            if not padding:
                shares.append(p)
                choices.append(expert)
                taken[expert] += 1
                if training and taken[expert] > limit:
                    dropped += 1
                    continue
            if training and padding:
                continue
            y[b, t] = p[expert] * (moe.down[expert] @ moe.activation(moe.up[expert] @ x[b, t]))
    if not training:
        return y, None, 0.0
    used = torch.tensor([choices.count(e) / len(choices) for e in range(EXPERTS)], dtype=x.dtype)
    loss = moe.balance * EXPERTS * (used * torch.stack(shares).mean(0)).sum()
    return y, loss, dropped / len(choices)


@modes
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("capacity", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("activation", ["silu", "relu2"])
def test_equals_the_definition(activation: str, capacity: float, packed: bool, training: bool) -> None:
    moe = build(capacity, activation).train(training)
    x = random(2, 23, WIDTH).requires_grad_()
    segments = segments_of(2, 23) if packed else None
    results, shares = [], []
    for y, loss, dropped in ((*moe(x, segments, None), moe.dropped.item()), by_definition(moe, x, segments, training)):
        shares.append(dropped)
        total = (y * random(*y.shape, seed=1)).sum() + (0 if loss is None else loss)
        gradients = torch.autograd.grad(total, [x, *moe.parameters()])
        results.append([y, torch.zeros(()) if loss is None else loss, *gradients])
    assert shares[0] == pytest.approx(shares[1])
    assert shares[1] > 0.2 or capacity > 0.5 or not training, "the case should drop tokens"
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, **TOLERANCE)


def test_dropped_share_of_a_constructed_case() -> None:
    """All 20 tokens of a row choose one of 5 experts, which takes ceil(2 * 20 / 5) = 8 of them: the first ones."""
    moe = build(capacity=2.0)
    with torch.no_grad():
        moe.router.copy_(torch.eye(EXPERTS, WIDTH))
    x = random(2, 20, WIDTH).abs() * 0.1
    x[0, :, 3] = 5  # row 0: all to expert 3
    x[1, torch.arange(20), torch.arange(20) % 5] = 5  # row 1: in turn, 4 tokens each
    y, _ = moe(x, None, None)
    assert moe.dropped.item() == pytest.approx(12 / 40)
    assert (y[0].abs().sum(-1) > 0).tolist() == [True] * 8 + [False] * 12
    assert (y[1].abs().sum(-1) > 0).all()
    model = nn.Sequential(moe, build())
    assert dropped_share(model) == pytest.approx(6 / 40)
    assert dropped_share(nn.Linear(2, 2)) is None
    assert not any("dropped" in name for name in moe.state_dict())


def test_nothing_is_dropped_in_evaluation_or_with_a_state() -> None:
    moe = build(capacity=0.1)
    x = random(2, 20, WIDTH)
    evaluated, loss = moe.eval()(x, None, None)
    decoded, with_state = moe.train()(x, None, moe.init_state(2, torch.float64, torch.device("cpu")))
    assert loss is None and with_state is None
    assert torch.equal(evaluated, decoded)
    assert (evaluated.abs().sum(-1) > 0).all()
    trained, _ = moe(x, None, None)
    assert not torch.equal(trained, evaluated)


def test_steps_equal_the_forward() -> None:
    moe = build().eval()
    x = random(3, 9, WIDTH)
    state = moe.init_state(3, torch.float64, torch.device("cpu"))
    steps = [moe(x[:, t : t + 1], None, state)[0] for t in range(9)]
    torch.testing.assert_close(torch.cat(steps, 1), moe(x, None, None)[0], **TOLERANCE)


@modes
def test_no_token_changes_an_earlier_output_or_another_row(training: bool) -> None:
    moe = build(capacity=0.6).train(training)
    x = random(2, 16, WIDTH)
    before, _ = moe(x, None, None)
    for changed in range(16):
        other = x.clone()
        other[0, changed] = -other[0, changed]  # another expert, in all likelihood
        after, _ = moe(other, None, None)
        torch.testing.assert_close(after[0, :changed], before[0, :changed], **TOLERANCE)
        torch.testing.assert_close(after[1], before[1], **TOLERANCE)
        assert training or not torch.allclose(after[0, changed], before[0, changed])
    alone, _ = moe(x[1:], None, None)
    torch.testing.assert_close(alone, before[1:], **TOLERANCE)


def test_the_router_learns_from_the_gate_and_from_the_loss() -> None:
    moe = build()
    y, loss = moe(random(2, 16, WIDTH), None, None)
    for value in (y.sum(), loss):
        (gradient,) = torch.autograd.grad(value, moe.router, retain_graph=True)
        assert (gradient.abs().sum(-1) > 0).all()


def test_equal_use_costs_the_balance_and_one_expert_costs_the_most() -> None:
    moe = build()
    with torch.no_grad():
        moe.router.copy_(torch.eye(EXPERTS, WIDTH))
    x = torch.zeros(1, 20, WIDTH, dtype=torch.float64)
    equal = x.clone()
    equal[0, torch.arange(20), torch.arange(20) % 5] = 3
    assert moe(equal, None, None)[1].item() == pytest.approx(0.01)
    x[..., 0] = 30
    assert moe(x, None, None)[1].item() == pytest.approx(0.01 * EXPERTS)


def test_parameters_and_what_one_token_leaves_idle() -> None:
    d = 64
    moe = MoE(MLPConfig("moe", d), d, CanonConfig("ABC"))
    assert moe.experts == 32
    total = sum(p.numel() for p in moe.parameters())
    assert total == 32 * 2 * d * d + 32 * d
    assert total - moe.idle_parameters == 2 * d * d + 32 * d
    for weight in moe.parameters():
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert abs(weight.mean().item()) < 2e-3
    default = MoE(replace(CONFIG, std=None), d, CanonConfig())
    assert default.up.abs().max().item() == pytest.approx(d**-0.5, rel=1e-2)
    assert default.down.abs().max().item() == pytest.approx(INNER**-0.5, rel=1e-2)


def test_bad_configurations() -> None:
    with pytest.raises(InputError, match="canon = 'AD': a mixture of experts has no point D"):
        MoE(CONFIG, WIDTH, CanonConfig("AD"))
    with pytest.raises(InputError, match="bias = True: experts have none"):
        MoE(replace(CONFIG, bias=True), WIDTH, CanonConfig())
    with pytest.raises(InputError, match="experts = 0"):
        MoE(CONFIG, WIDTH, CanonConfig(), experts=0)


def groups(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """29 rows of 4 experts, one of them without any."""
    return random(29, 8, seed=seed), random(4, 4, 8, seed=seed + 1), torch.tensor([8, 8, 20, 29])


def test_grouped_linear_is_a_linear_layer_per_group() -> None:
    x, weight, ends = (tensor.requires_grad_(tensor.is_floating_point()) for tensor in groups())
    expected = torch.cat([F.linear(x[:8], weight[0]), F.linear(x[8:20], weight[2]), F.linear(x[20:], weight[3])])
    torch.testing.assert_close(grouped_linear(x, weight, ends), expected, **TOLERANCE)
    assert torch.autograd.gradcheck(lambda *inputs: grouped_linear(*inputs, ends), (x, weight))
    torch.library.opcheck(module._grouped_linear.node, (x, weight, ends), test_utils=("test_schema", "test_faketensor"))


def test_grouped_linear_under_transforms() -> None:
    x, weight, _ = groups()
    ends = torch.tensor([2, 2, 3])
    inputs = [x[:3, :2], weight[:3, :2, :2]]

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return grouped_linear(x, weight, ends).square()

    check_transforms(function, inputs)
    operators = ["grouped_linear", "grouped_linear", "grouped_linear_weights"]
    assert sorted(compiled_operators(function, inputs)) == operators
    y, graph = exported(function, inputs)
    torch.testing.assert_close(y, function(*inputs), **TOLERANCE)
    assert "canonlab" not in graph


def test_a_transform_leaves_no_tensor_of_its_own_behind() -> None:
    moe, x = build().train(), random(2, 5, WIDTH)
    y, _ = moe(x, None, None)
    dropped = moe.dropped
    torch.testing.assert_close(vmap(lambda x: moe(x[None], None, None)[0][0])(x), y, **TOLERANCE)
    assert moe.dropped is dropped


def test_the_frameworks_grouped_product_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs on CUDA in bfloat16; on a CPU it takes single precision."""
    even, odd = torch.Size([4, 16, 8]), torch.Size([4, 16, 9])
    assert choose_implementation("cuda", torch.bfloat16, even) == "grouped_mm"
    others = [("cuda", torch.float32, even), ("cpu", torch.bfloat16, even), ("cuda", torch.bfloat16, odd)]
    assert {choose_implementation(*other) for other in others} == {"loop"}
    x, weight, ends = groups()
    found = []
    for implementation in ("loop", "grouped_mm"):
        monkeypatch.setattr(module, "choose_implementation", lambda *_, implementation=implementation: implementation)
        inputs = [tensor.float().requires_grad_() for tensor in (x, weight)]
        y = grouped_linear(inputs[0], inputs[1], ends)
        y.backward(random(29, 4, seed=5).float())
        found.append([y, *[tensor.grad for tensor in inputs]])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    along = torch.func.jvp(lambda x: grouped_linear(x, weight.float(), ends), (x.float(),), (x.float(),))
    torch.testing.assert_close(*along)  # it is linear


def test_autocast_routes_in_single_precision() -> None:
    moe = build().float().eval()
    x = random(2, 16, WIDTH).to(torch.bfloat16)
    expected, _ = moe(x.float(), None, None)
    with torch.autocast("cpu", torch.bfloat16):
        assert moe._route(x).dtype == torch.float32
        assert torch.equal(moe._route(x), moe._route(x.float()))
        y, _ = moe(x, None, None)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.slow
def test_a_compiler_sees_one_graph() -> None:
    """Traced with gradients, and without running a C++ compiler."""
    moe, x = build(capacity=0.5), random(2, 23, WIDTH)
    compiled = torch.compile(moe, backend="aot_eager", fullgraph=True, dynamic=False)
    results = []
    with torch._dynamo.config.patch(error_on_recompile=True):
        for run in (moe, compiled, compiled):
            moe.dropped.fill_(-1)
            y, loss = run(x, segments_of(2, 23), None)
            (y.square().sum() + loss).backward()
            results.append([y.detach(), loss.detach(), moe.dropped.clone(), *[p.grad for p in moe.parameters()]])
            moe.zero_grad()
    assert results[0][2] > 0
    for eager, *others in zip(*results, strict=True):
        for other in others:
            torch.testing.assert_close(other, eager, **TOLERANCE)
