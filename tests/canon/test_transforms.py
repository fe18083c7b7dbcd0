"""Whatever PyTorch does to a Canon layer gives the numbers that the kernel gives by itself, or refuses."""

import copy
import importlib.util
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import (
    functional_call,
    functionalize,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    vjp,
    vmap,
)
from torch.fx.experimental.proxy_tensor import make_fx
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint

from canonlab.canon import Canon, canon
from transforms import along, assert_equal, compiled_operators, jacobian_of, rows_of

Function = Callable[[Tensor, Tensor], Tensor]

BATCH, TIME, WIDTH, KERNEL = 2, 5, 2, 3
IDS = torch.tensor([[0, 0, 0, 1, 1], [-1, 0, 0, 0, 2]])
VARIANTS = [
    {},
    {"segment_ids": IDS},
    {"residual": False, "segment_ids": IDS},
    {"activation": True, "segment_ids": IDS},
    {"activation": True, "residual": False},
]
variants = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "-".join(variant) or "plain")
both_dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


def draw(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = ((BATCH, TIME, WIDTH), (KERNEL, WIDTH))
    return tuple(torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for shape in shapes)  # type: ignore[return-value]


def layer_of(variant: dict[str, Any]) -> Function:
    return lambda x, weight: canon(x, weight, implementation="numba", **variant)


def energy_of(layer: Function) -> Function:
    return lambda x, weight: layer(x, weight).pow(3).sum()


@variants
@both_dtypes
def test_first_derivatives(variant: dict[str, Any], dtype: torch.dtype) -> None:
    layer, inputs, tangents = layer_of(variant), draw(dtype=dtype), draw(1, dtype)
    value, jacobian = layer(*inputs), jacobian_of(layer, inputs)
    slopes = jacobian_of(energy_of(layer), inputs)
    directional = along(jacobian, tangents)

    assert_equal(grad(energy_of(layer), (0, 1))(*inputs), tuple(slopes), dtype)
    y, pull = vjp(layer, *inputs)
    assert_equal((y, *pull(3 * value**2)), (value, *slopes), dtype)
    assert_equal(jvp(layer, inputs, tangents), (value, directional), dtype)
    assert_equal(jacrev(layer, (0, 1))(*inputs), tuple(jacobian), dtype)
    assert_equal(jacfwd(layer, (0, 1))(*inputs), tuple(jacobian), dtype)
    assert_equal(functionalize(layer)(*inputs), value, dtype)
    for options in ({"strategy": "forward-mode", "vectorize": True}, {"vectorize": True}):
        assert_equal(torch.autograd.functional.jacobian(layer, inputs, **options), tuple(jacobian), dtype)


@variants
def test_a_derivative_along_one_input_alone(variant: dict[str, Any]) -> None:
    layer, (x, weight), (dx, dweight) = layer_of(variant), draw(), draw(1)
    of_x, of_weight = jacobian_of(layer, (x, weight))
    assert_equal(jvp(lambda x: layer(x, weight), (x,), (dx,))[1], along([of_x], (dx,)))
    assert_equal(jvp(lambda weight: layer(x, weight), (weight,), (dweight,))[1], along([of_weight], (dweight,)))


@variants
def test_dual_tensors(variant: dict[str, Any]) -> None:
    torch._dynamo.reset()
    layer, inputs, tangents = layer_of(variant), draw(), draw(1)
    expected = along(jacobian_of(layer, inputs), tangents)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    compiled(*inputs)  # a graph without tangents must not serve for one with
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(*pair) for pair in zip(inputs, tangents, strict=True)]
        for run in (layer, compiled):
            assert_equal(forward_ad.unpack_dual(run(*duals)).tangent, expected)


@variants
def test_second_derivatives(variant: dict[str, Any]) -> None:
    energy, inputs = energy_of(layer_of(variant)), draw()
    leaves = tuple(x.detach().requires_grad_() for x in inputs)
    slopes = torch.autograd.grad(energy(*leaves), leaves, create_graph=True)
    expected = [rows_of(slope, leaves) for slope in slopes]
    assert_equal([list(row) for row in hessian(energy, (0, 1))(*inputs)], expected)
    for outer, inner in ((jacrev, jacrev), (jacrev, jacfwd), (jacfwd, jacfwd)):
        assert_equal(outer(inner(energy, 0), 1)(*inputs), expected[0][1])


@variants
def test_transforms_of_a_backward_pass(variant: dict[str, Any]) -> None:
    """The forward pass ran the kernel; a batch of gradients, or one with a tangent, goes back through it."""
    layer, inputs = layer_of(variant), draw()
    leaves = tuple(x.detach().requires_grad_() for x in inputs)
    y = layer(*leaves)
    unit = torch.eye(y.numel(), dtype=y.dtype).view(-1, *y.shape)
    jacobian = [part.flatten(0, 2) for part in rows_of(y, leaves)]
    assert_equal(torch.autograd.grad(y, leaves, unit, is_grads_batched=True, create_graph=True), tuple(jacobian))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(unit[0], unit[1])
        slopes = torch.autograd.grad(y, leaves, dual, create_graph=True)
        assert_equal([forward_ad.unpack_dual(slope).tangent for slope in slopes], [part[1] for part in jacobian])


@variants
def test_vmap(variant: dict[str, Any]) -> None:
    layer, (x, weight), (other, another) = layer_of(variant), draw(), draw(1)
    xs, weights = torch.stack([x, other]), torch.stack([weight, another], -1)
    assert_equal(vmap(layer, (0, None))(xs, weight), torch.stack([layer(x, weight), layer(other, weight)]))
    assert_equal(vmap(layer, (None, -1))(x, weights), torch.stack([layer(x, weight), layer(x, another)]))
    each = [jacobian_of(energy_of(layer), pair) for pair in ((x, weight), (other, another))]
    expected = tuple(torch.stack(part) for part in zip(*each, strict=True))
    assert_equal(vmap(grad(energy_of(layer), (0, 1)), (0, -1))(xs, weights), expected)


def test_gradients_of_each_row_with_its_segments() -> None:
    x, weight = draw()

    def energy(weight: Tensor, row: Tensor, ids: Tensor) -> Tensor:
        return canon(row[None], weight, segment_ids=ids[None], implementation="numba").pow(3).sum()

    def energies(weight: Tensor) -> Tensor:
        return torch.stack([energy(weight, *row) for row in zip(x, IDS, strict=True)])

    (expected,) = jacobian_of(energies, (weight,))
    assert_equal(vmap(grad(energy), (None, 0, 0))(weight, x, IDS), expected)


@pytest.mark.parametrize("frozen", [False, True])
def test_an_ensemble_of_modules(frozen: bool) -> None:
    x, _ = draw()
    modules = [Canon(WIDTH, kernel=KERNEL, frozen=frozen, implementation="numba").double() for _ in range(3)]
    parameters, buffers = stack_module_state(modules)  # type: ignore[arg-type]
    found = vmap(lambda parameters: functional_call(modules[0], (parameters, buffers), (x, IDS)))(parameters)
    assert_equal(found, torch.stack([module(x, IDS) for module in modules]))


def test_a_state_under_transforms() -> None:
    """A row at a time, each with its state, and forwards through the second of two chunks."""
    layer = Canon(WIDTH, kernel=KERNEL, implementation="numba").double()
    x, _ = draw()
    first, second = x[:, :2], x[:, 2:]

    def run(first: Tensor, second: Tensor, state: dict[str, Tensor]) -> Tensor:
        return torch.cat([layer(first, state=state), layer(second, state=state)], 1)

    expected = layer(x)
    states = {name: tensor[:, None] for name, tensor in layer.init_state(BATCH).items()}
    assert_equal(vmap(run)(first[:, None], second[:, None], states)[:, 0], expected)
    assert_equal(states["inputs"][:, 0], x[:, 1 - KERNEL :])

    def go_on(second: Tensor) -> Tensor:
        return run(first, second, layer.init_state(BATCH))

    (jacobian,) = jacobian_of(go_on, (second,))
    y, tangent = jvp(go_on, (second,), (second,))
    assert_equal((y, tangent), (expected, along([jacobian], (second,))))
    assert_equal(jacfwd(go_on)(second), jacobian)


def test_transforms_and_the_compiler() -> None:
    torch._dynamo.reset()
    layer, inputs, tangents = layer_of({"activation": True, "segment_ids": IDS}), draw(), draw(1)
    compiled = torch.compile(layer, backend="aot_eager")  # under a transform, PyTorch runs it uncompiled
    assert_equal(compiled(*inputs), layer(*inputs))
    expected = (layer(*inputs), along(jacobian_of(layer, inputs), tangents))
    assert_equal(jvp(compiled, inputs, tangents), expected)
    inside = torch.compile(lambda *pair: jvp(layer, *pair), backend="aot_eager", fullgraph=True)
    assert_equal(inside(inputs, tangents), expected)
    inside = torch.compile(grad(energy_of(layer), (0, 1)), backend="aot_eager", fullgraph=True)
    assert_equal(inside(*inputs), tuple(jacobian_of(energy_of(layer), inputs)))


def test_a_traced_operator_refuses_what_it_would_lose() -> None:
    layer, inputs, tangents = layer_of({}), draw(), draw(1)
    traced = make_fx(layer)(*inputs)
    assert_equal(traced(*inputs), layer(*inputs))
    with pytest.raises(NotImplementedError, match="^canonlab::canon in a traced graph has no forward-mode derivative"):
        jvp(traced, inputs, tangents)
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="^canonlab::canon in a traced graph"):
        traced(*map(forward_ad.make_dual, inputs, tangents))


def test_ordinary_training_runs_the_kernel() -> None:
    """Compiled and eager, forward and backward: no transform is seen where there is none."""
    layer, inputs = layer_of({"segment_ids": IDS}), draw()
    assert compiled_operators(layer, inputs) == ["canon", "canon_backward"]
    leaves = [x.requires_grad_() for x in inputs]
    with profile(activities=[ProfilerActivity.CPU]) as record:
        layer(*leaves).sum().backward()
    assert {"canonlab::canon", "canonlab::canon_backward"} <= {event.key for event in record.key_averages()}


@variants
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoint(variant: dict[str, Any], use_reentrant: bool) -> None:
    layer, leaves = layer_of(variant), [x.requires_grad_() for x in draw()]
    y = checkpoint(layer, *leaves, use_reentrant=use_reentrant)
    y.pow(3).sum().backward()
    assert_equal([x.grad for x in leaves], jacobian_of(energy_of(layer), tuple(leaves)))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("activation", [False, True])
def test_export(strict: bool, activation: bool) -> None:
    """Plain PyTorch for any length, that whoever lacks this package can load; a state is updated as in the module."""
    layer = Canon(WIDTH, kernel=KERNEL, activation=activation, implementation="numba").double()
    x, _ = draw()
    long = torch.cat([x, x], 1), torch.cat([IDS, IDS], 1)
    any_length = {1: torch.export.Dim("time", min=2, max=99)}
    for inputs, others in (((x,), long[:1]), ((x, IDS), long)):
        shapes = tuple(any_length for _ in inputs)
        program = torch.export.export(layer, inputs, strict=strict, dynamic_shapes=shapes)
        assert "canonlab" not in str(program.graph)
        assert_equal(program.module()(*others), layer(*others))
    mine, theirs = layer.init_state(BATCH), layer.init_state(BATCH)
    program = torch.export.export(layer, (x, IDS, layer.init_state(BATCH)), strict=strict)
    assert_equal(program.module()(x, IDS, mine), layer(x, IDS, theirs))
    assert_equal(mine, theirs)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_traced_by_the_jit() -> None:
    layer = Canon(WIDTH, kernel=KERNEL, implementation="numba").double()
    x, _ = draw()
    traced = torch.jit.trace(layer, (x, IDS))
    assert "canonlab::" not in str(traced.inlined_graph)
    assert_equal(traced(x[:1, :4], IDS[:1, :4]), layer(x[:1, :4], IDS[:1, :4]))
    assert_equal(jacobian_of(lambda x: traced(x, IDS), (x,)), jacobian_of(lambda x: layer(x, IDS), (x,)))


@pytest.mark.skipif(importlib.util.find_spec("onnxscript") is None, reason="ONNX export needs onnx and onnxscript")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("dynamo", [False, True])
def test_onnx(dynamo: bool) -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    layer, file = Canon(WIDTH, kernel=KERNEL, activation=True, implementation="numba"), io.BytesIO()
    x, _ = draw(dtype=torch.float32)
    torch.onnx.export(layer, (x, IDS), file, dynamo=dynamo, verbose=False)
    model = onnx.load_from_string(file.getvalue())
    names = [each.name for each in model.graph.input]
    (y,) = ReferenceEvaluator(model).run(None, dict(zip(names, (x.numpy(), IDS.numpy()), strict=True)))
    assert_equal(torch.from_numpy(y), layer(x, IDS).detach(), torch.float32)


def test_modes_and_copies() -> None:
    layer = Canon(WIDTH, kernel=KERNEL, activation=True, implementation="numba")
    x, _ = draw(dtype=torch.float32)
    expected = layer(x, IDS).detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            y = layer(x, IDS)
            assert torch.equal(y, expected) and not y.requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x, IDS)
        tangent = jvp(lambda x: layer(x, IDS), (x,), (x,))[1]
    assert torch.equal(y, expected)
    assert_equal(tangent, along(jacobian_of(lambda x: layer(x, IDS), (x,)), (x,)), torch.float32)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x, IDS), expected)


def test_tensors_without_data() -> None:
    layer = Canon(WIDTH, kernel=KERNEL, implementation="numba")
    x, _ = draw(dtype=torch.float32)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y = layer(mode.from_tensor(x).requires_grad_(), mode.from_tensor(IDS))
        (dx,) = torch.autograd.grad(y.sum(), layer.weight)
    assert (y.shape, y.device, dx.shape) == (x.shape, x.device, layer.weight.shape)
    meta = Canon(WIDTH, kernel=KERNEL).to("meta")
    y = meta(x.to("meta"), IDS.to("meta"))
    y.sum().backward()
    assert y.is_meta and meta.weight.grad is not None and meta.weight.grad.is_meta
