"""Dynamic taps, the gate and another past, against the formula written out; segments, streaming and beginnings."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.canon import IMPLEMENTATIONS, Canon, canon
from canonlab.canon.layer import RANK, groups_of

VARIANTS: list[dict[str, Any]] = [{"dynamic": True}, {"gate": True}, {"dynamic": True, "gate": True}]
MORE: list[dict[str, Any]] = [{}, {"activation": True}, {"residual": False}, {"scale": True, "activation": True}]
SEGMENTS = torch.tensor([[-1] * 3 + [0] * 14, [4] * 6 + [5] + [4] * 10])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noisy(width: int, **options: Any) -> Canon:
    """A layer in which nothing is as it was at the beginning."""
    layer = Canon(width, **options).double()
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return layer


def definition(layer: Canon, x: Tensor, segment_ids: Tensor | None, past: Tensor | None) -> Tensor:
    """y_t = x_t + g * sum over j of (w_j + d_j(x_t)) z_{t-j}, channel by channel; z_t is x_t, earlier ones `past`."""
    groups = groups_of(layer.width)
    rows = []
    for b, sequence in enumerate(x):
        for t, now in enumerate(sequence):
            taps = layer.weight
            if layer.dynamic:
                own = (layer.up @ (layer.down @ now)).view(layer.kernel, groups)
                taps = taps + torch.stack([own[:, c * groups // layer.width] for c in range(layer.width)], dim=1)
            row = taps[0] * now
            for lag in range(1, min(layer.kernel, t + 1)):
                if segment_ids is None or segment_ids[b, t] == segment_ids[b, t - lag]:
                    row = row + taps[lag] * (x if past is None else past)[b, t - lag]
            row = F.silu(row) if layer.activation else row
            row = row if layer.gate is None else layer.gate * row
            row = now + row if layer.residual else row
            rows.append(row * (layer.kernel + 1) ** -0.5 if layer.scale else row)
    return torch.stack(rows).view_as(x)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("variant", [*VARIANTS, {}])
@pytest.mark.parametrize("another", [False, True])
def test_values_and_gradients_are_those_of_the_definition(
    implementation: str, more: dict, variant: dict, another: bool
) -> None:
    layer = noisy(130, kernel=3, implementation=implementation, **variant, **more)
    x = draw(2, 17, 130).requires_grad_()
    inputs = [x, *layer.parameters()]
    past = draw(2, 17, 130, seed=9).requires_grad_() if another else None
    inputs += [] if past is None else [past]
    for ids in (None, SEGMENTS):
        y, expected, g = layer(x, ids, past=past), definition(layer, x, ids, past), draw(2, 17, 130, seed=5)
        torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
        found, right = (torch.autograd.grad(each, inputs, g) for each in (y, expected))
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernel", range(2, 9))
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("another", [False, True])
@torch.no_grad()
def test_streaming_equals_the_whole(kernel: int, variant: dict, another: bool) -> None:
    layer, x, past = noisy(6, kernel=kernel, **variant), draw(2, 17, 6), draw(2, 17, 6, seed=1) if another else None
    for ids in (None, SEGMENTS):
        state, parts = layer.init_state(2), []
        state["inputs"] = state["inputs"].double()
        for cut in (slice(0, 5), slice(5, 6), slice(6, 6), slice(6, 7), slice(7, 17)):
            given = (x[:, cut], None if ids is None else ids[:, cut], state)
            parts.append(layer(*given, None if past is None else past[:, cut]))
        torch.testing.assert_close(torch.cat(parts, 1), layer(x, ids, past=past), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("more", [{}, {"activation": True}, {"scale": True}, {"residual": False}])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_begins_as_the_layer_without(more: dict, variant: dict, dtype: torch.dtype) -> None:
    layer, plain, x = Canon(128, **variant, **more), Canon(128, **more), draw(2, 9, 128).to(dtype)
    plain.load_state_dict(layer.state_dict(), strict=False)
    assert torch.equal(layer(x), plain(x)) and layer(x).dtype == dtype


def test_what_begins_without_effect_learns_whether_or_not_the_taps_do() -> None:
    for frozen in (False, True):
        layer = Canon(8, dynamic=True, gate=True, frozen=frozen)
        layer(torch.randn(2, 5, 8)).square().sum().backward()
        assert layer.gate is not None and layer.gate.grad is not None and layer.gate.grad.all()
        assert layer.up.grad is not None and layer.up.grad.any()
        assert (layer.weight.grad is None) == frozen


def test_nothing_leaks_out_of_a_segment_not_even_nan() -> None:
    layer, clean = noisy(8, dynamic=True, gate=True), draw(1, 12, 8)
    dirty, ids = clean.clone(), torch.tensor([[-1] * 5 + [0] * 7])
    dirty[:, :5] = float("nan")
    for past in (None, dirty):
        expected = layer(clean, ids, past=None if past is None else clean)
        assert torch.equal(layer(dirty, ids, past=past)[:, 5:], expected[:, 5:])


@pytest.mark.parametrize(("width", "groups"), [(1, 1), (63, 1), (64, 1), (128, 2), (130, 2), (131, 1), (2192, 16)])
def test_groups_are_equal_and_as_many_as_a_head_is_wide_or_fewer(width: int, groups: int) -> None:
    layer = Canon(width, kernel=3, dynamic=True)
    assert layer.down.shape == (RANK, width) and layer.up.shape == (3 * groups, RANK)
    assert layer.down.abs().max() <= width**-0.5 and not layer.up.any()


def test_autocast_leaves_the_dtype_of_x() -> None:
    layer, x = noisy(64, dynamic=True, gate=True).float(), draw(2, 9, 64).float()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, layer(x), rtol=0.02, atol=0.2)


def test_compiled_and_transformed() -> None:
    layer, x = noisy(8, dynamic=True, gate=True), draw(2, 9, 8)
    torch.testing.assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), layer(x))
    _, along = torch.func.jvp(layer, (x,), (torch.ones_like(x),))
    step = (layer(x + 1e-6) - layer(x - 1e-6)) / 2e-6
    torch.testing.assert_close(along, step, rtol=1e-6, atol=1e-6)
    assert repr(layer) == "Canon(8, kernel=4, residual=True, dynamic, gate)"


X, WEIGHT = torch.zeros(2, 3, 6), torch.zeros(4, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate": torch.zeros(5)}, r"gate has shape \(5,\): must be \(6,\)"),
        (
            {"dynamic": torch.zeros(2, 3, 4, 4)},
            r"dynamic has shape .*must be \(2, 3, 4, groups\), groups that divide 6",
        ),
        ({"dynamic": torch.zeros(2, 3, 3, 1)}, r"dynamic has shape .*must be \(2, 3, 4, groups\)"),
        ({"past": torch.zeros(2, 2, 6)}, r"past has shape \(2, 2, 6\): must be \(2, 3, 6\) like x"),
    ],
)
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        canon(X, WEIGHT, **options)
