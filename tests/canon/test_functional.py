"""The Canon function against its definition, for every implementation."""

import runpy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from canonlab.canon import IMPLEMENTATIONS, canon, choose_implementation, functional

implementations = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


def definition(
    x: Tensor, weight: Tensor, segment_ids: Tensor | None = None, residual: bool = True, activation: bool = False
) -> Tensor:
    """The formula, position by position and tap by tap."""
    sequences = []
    for b, sequence in enumerate(x):
        rows = []
        for t, _ in enumerate(sequence):
            row = torch.zeros_like(sequence[t])
            for lag in range(min(len(weight), t + 1)):
                if segment_ids is None or segment_ids[b, t] == segment_ids[b, t - lag]:
                    row = row + weight[lag] * sequence[t - lag]
            rows.append(F.silu(row) if activation else row)
        sequences.append(torch.stack(rows))
    y = torch.stack(sequences)
    return x + y if residual else y


def draw(batch: int, time: int, width: int, kernel: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(batch * 1000 + time * 100 + width * 10 + kernel)
    x = torch.randn(batch, time, width, generator=random, dtype=torch.float64)
    weight = torch.randn(kernel, width, generator=random, dtype=torch.float64)
    return x.to(dtype), weight.to(torch.float64 if dtype == torch.float64 else torch.float32)


def segments(batch: int, time: int, seed: int = 0) -> Tensor:
    """Runs of about three positions, each sequence with other borders, the first run padding."""
    random = torch.Generator().manual_seed(seed)
    return torch.cumsum(torch.rand(batch, time, generator=random) < 0.3, dim=1) - 1


@implementations
@pytest.mark.parametrize("kernel", range(2, 9))
@pytest.mark.parametrize("packed", [False, True])
def test_value_and_gradients_are_those_of_the_definition(implementation: str, kernel: int, packed: bool) -> None:
    x, weight = draw(3, 21, 5, kernel)
    ids = segments(3, 21, seed=kernel) if packed else None
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    x.requires_grad_()
    weight.requires_grad_()
    expected = definition(x, weight, ids)
    y = canon(x, weight, segment_ids=ids, implementation=implementation)
    torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(
        torch.autograd.grad(y, (x, weight), g), torch.autograd.grad(expected, (x, weight), g), rtol=1e-12, atol=1e-12
    )


@implementations
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", [False, True])
def test_variants(implementation: str, residual: bool, activation: bool) -> None:
    x, weight = draw(2, 9, 7, 4)
    y = canon(x, weight, residual=residual, activation=activation, implementation=implementation)
    expected = definition(x, weight, residual=residual, activation=activation)
    torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)


@given(
    batch=st.integers(1, 3),
    time=st.integers(1, 20),
    width=st.sampled_from([1, 3, 16, 70]),
    seed=st.one_of(st.none(), st.integers(0, 1000)),
)
@settings(max_examples=60)
def test_implementations_agree_to_the_bit(batch: int, time: int, width: int, seed: int | None) -> None:
    ids = None if seed is None else segments(batch, time, seed)
    for dtype in functional.NUMBA_DTYPES:
        x, weight = draw(batch, time, width, 4, dtype)
        one, other = (
            canon(x, weight, segment_ids=ids, implementation=implementation) for implementation in IMPLEMENTATIONS
        )
        assert torch.equal(one, other)


@implementations
def test_segment_ids_need_not_be_in_order(implementation: str) -> None:
    x, weight = draw(1, 8, 3, 4)
    ids = torch.tensor([[7, 0, 7, 7, -1, 0, 0, 7]])
    for dtype in (torch.int64, torch.int32, torch.int8):
        y = canon(x, weight, segment_ids=ids.to(dtype), implementation=implementation)
        torch.testing.assert_close(y, definition(x, weight, ids), rtol=1e-13, atol=1e-13)


@implementations
def test_packed_equals_separate(implementation: str) -> None:
    lengths = [1, 5, 2, 9, 3]
    x, weight = draw(1, sum(lengths), 6, 4)
    ids = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    packed = canon(x, weight, segment_ids=ids, implementation=implementation)
    separate = torch.cat(
        [canon(part, weight, implementation=implementation) for part in x.split(lengths, dim=1)], dim=1
    )
    assert torch.equal(packed, separate)


@implementations
def test_nothing_leaks_out_of_a_segment_not_even_nan(implementation: str) -> None:
    x, weight = draw(2, 12, 6, 4)
    ids = torch.tensor([[-1] * 5 + [0] * 7] * 2)
    clean = x.clone().requires_grad_()
    dirty = x.clone()
    dirty[:, :5] = float("nan")
    dirty.requires_grad_()
    expected = canon(clean, weight, segment_ids=ids, implementation=implementation)[:, 5:]
    y = canon(dirty, weight, segment_ids=ids, implementation=implementation)[:, 5:]
    assert torch.equal(y, expected)
    (dx,), (expected_dx,) = torch.autograd.grad(y.sum(), dirty), torch.autograd.grad(expected.sum(), clean)
    assert torch.equal(dx[:, 5:], expected_dx[:, 5:])


@implementations
def test_a_later_position_never_changes_an_earlier_output(implementation: str) -> None:
    x, weight = draw(1, 15, 6, 4)
    y = canon(x, weight, implementation=implementation)
    for t in range(15):
        changed = x.clone()
        changed[:, t] = float("inf")
        again = canon(changed, weight, implementation=implementation)
        assert torch.equal(again[:, :t], y[:, :t])
        assert not torch.isfinite(again[:, t]).any()


@implementations
def test_the_residual_is_one_more_on_tap_zero(implementation: str) -> None:
    x, weight = draw(2, 9, 7, 4)
    unit = torch.eye(4, 1, dtype=x.dtype)
    plain = canon(x, weight, residual=False, implementation=implementation)
    y = canon(x, weight, implementation=implementation)
    assert torch.equal(y, canon(x, weight + unit, residual=False, implementation=implementation))
    torch.testing.assert_close(y, x + plain, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weight_dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_any_floating_dtypes(dtype: torch.dtype, weight_dtype: torch.dtype) -> None:
    x, weight = (tensor.detach().requires_grad_() for tensor in draw(2, 11, 5, 4))
    narrow_x, narrow_weight = (
        tensor.detach().to(kind).requires_grad_() for tensor, kind in ((x, dtype), (weight, weight_dtype))
    )
    y = canon(narrow_x, narrow_weight)
    y.sum().backward()
    assert y.dtype == dtype and narrow_x.grad.dtype == dtype and narrow_weight.grad.dtype == weight_dtype
    definition(x, weight).sum().backward()
    precision = 20 * max(torch.finfo(dtype).eps, torch.finfo(weight_dtype).eps)
    torch.testing.assert_close(y.double(), definition(x, weight), rtol=precision, atol=precision)
    torch.testing.assert_close(narrow_x.grad.double(), x.grad, rtol=precision, atol=precision)
    torch.testing.assert_close(narrow_weight.grad.double(), weight.grad, rtol=precision, atol=precision)


def test_half_precision_is_rounded_once() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        x, weight = draw(2, 11, 5, 4, dtype)
        assert torch.equal(canon(x, weight), canon(x.float(), weight).to(dtype))


@implementations
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_leaves_the_dtype_of_x(implementation: str, dtype: torch.dtype) -> None:
    x, weight = draw(2, 11, 5, 4, dtype)
    with torch.autocast("cpu", torch.bfloat16):
        y = canon(x, weight, implementation=implementation)
    assert torch.equal(y, canon(x, weight, implementation=implementation))


@implementations
@pytest.mark.parametrize("shape", [(0, 5, 8), (2, 0, 8), (0, 0, 8), (2, 1, 8), (2, 5, 0)])
def test_empty_and_single(implementation: str, shape: tuple[int, int, int]) -> None:
    x, weight = (tensor.requires_grad_() for tensor in draw(*shape, 4))
    ids = torch.zeros(shape[:2], dtype=torch.int64)
    y = canon(x, weight, segment_ids=ids, implementation=implementation)
    assert y.shape == shape
    dx, dweight = torch.autograd.grad(y.sum(), (x, weight))
    assert dx.shape == x.shape
    torch.testing.assert_close(dweight[0], x.detach().sum((0, 1)))
    assert not dweight[1:].any()


def test_choice_of_the_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_implementation("cpu", torch.float32) == "numba"
    assert choose_implementation(torch.device("cpu"), torch.bfloat16) == "numba"
    assert choose_implementation("cpu", torch.float16) == "reference"
    assert choose_implementation("cuda", torch.bfloat16) == "reference"
    monkeypatch.setattr(functional, "HAS_NUMBA", False)
    assert choose_implementation("cpu", torch.float32) == "reference"
    with pytest.raises(ValueError, match="needs numba, which is not installed"):
        canon(torch.zeros(1, 1, 1), torch.zeros(4, 1), implementation="numba")
    monkeypatch.undo()
    for setting, may_compile in (("", True), ("0", True), ("1", False)):
        monkeypatch.setenv("NUMBA_DISABLE_JIT", setting)
        assert runpy.run_path(functional.__file__)["MAY_COMPILE"] is may_compile
    monkeypatch.setattr(functional, "MAY_COMPILE", False)
    assert choose_implementation("cpu", torch.float32) == "reference"
    with pytest.raises(ValueError, match="NUMBA_DISABLE_JIT is set"):
        canon(torch.zeros(1, 1, 1), torch.zeros(4, 1), implementation="numba")


X, WEIGHT = torch.zeros(2, 3, 5), torch.zeros(4, 5)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X[0], WEIGHT), {}, ValueError, r"x has shape \(3, 5\): must be \(batch, time, width\)"),
        ((X, WEIGHT[:, :4]), {}, ValueError, r"weight has shape \(4, 4\): must be \(kernel, 5\)"),
        ((X, WEIGHT[0]), {}, ValueError, r"weight has shape \(5,\): must be \(kernel, 5\)"),
        ((X, WEIGHT[:1]), {}, ValueError, "kernel = 1: must be from 2 to 8"),
        ((X, torch.zeros(9, 5)), {}, ValueError, "kernel = 9: must be from 2 to 8"),
        ((X.long(), WEIGHT), {}, TypeError, "x is torch.int64: must be floating"),
        ((X, WEIGHT.int()), {}, TypeError, "weight is torch.int32: must be floating"),
        ((X, WEIGHT.to("meta")), {}, ValueError, "weight is on meta: must be on cpu"),
        ((X, WEIGHT), {"segment_ids": X[0, :, 0].long()}, ValueError, r"shape \(3,\): must be \(2, 3\)"),
        ((X, WEIGHT), {"segment_ids": X[..., 0]}, TypeError, "segment_ids is torch.float32: must be an integer"),
        ((X, WEIGHT), {"segment_ids": X[..., 0].bool()}, TypeError, "segment_ids is torch.bool: must be an integer"),
        ((X, WEIGHT), {"segment_ids": X[..., 0].long().to("meta")}, ValueError, "segment_ids is on meta"),
        (
            (X, WEIGHT),
            {"implementation": "nunba"},
            ValueError,
            r"implementation 'nunba'; did you mean 'numba'\? \(allowed: numba, ref",
        ),
        (
            (X, WEIGHT),
            {"implementation": "triton"},
            ValueError,
            r"implementation 'triton' \(allowed: numba, reference\)",
        ),
        ((X.half(), WEIGHT), {"implementation": "numba"}, ValueError, "'numba' does not run torch.float16 on cpu"),
        (
            (X.to("meta"), WEIGHT.to("meta")),
            {"implementation": "numba"},
            ValueError,
            "does not run torch.float32 on meta",
        ),
    ],
)
def test_errors(arguments: tuple, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        canon(*arguments, **options)
    assert "\n" not in str(raised.value)
