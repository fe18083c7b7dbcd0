"""The Canon module: initialisation, streaming, segments."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from canonlab.canon import Canon, canon


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kernel", [2, 4, 8])
def test_initialised_as_a_depthwise_conv1d(kernel: int) -> None:
    torch.manual_seed(0)
    weight = Canon(20_000, kernel=kernel).weight
    assert weight.shape == (kernel, 20_000) and weight.dtype == torch.float32 and weight.requires_grad
    bound = kernel**-0.5
    assert weight.abs().max() <= bound
    conv = torch.nn.Conv1d(20_000, 20_000, kernel, groups=20_000, bias=False).weight
    assert weight.std().item() == pytest.approx(conv.std().item(), rel=0.02)
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=0.02 * bound)


@pytest.mark.parametrize("options", [{}, {"residual": False}, {"activation": True}, {"kernel": 7}])
def test_is_the_function_of_its_weight(options: dict) -> None:
    layer = Canon(6, **options).double()
    x, ids = draw(2, 11, 6), torch.arange(11).expand(2, 11) // 4
    variant = {name: value for name, value in options.items() if name != "kernel"}
    assert torch.equal(layer(x), canon(x, layer.weight, **variant))
    assert torch.equal(layer(x, ids), canon(x, layer.weight, segment_ids=ids, **variant))


def test_frozen_keeps_its_weight() -> None:
    layer = Canon(6, frozen=True)
    x = torch.randn(2, 5, 6, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None and not layer.weight.requires_grad
    assert x.grad is not None and "weight" in layer.state_dict()


@pytest.mark.parametrize("implementation", ["numba", "reference"])
@given(data=st.data())
@settings(max_examples=40)
def test_streaming_equals_the_whole(implementation: str, data: st.DataObject) -> None:
    kernel = data.draw(st.sampled_from([2, 4, 8]))
    chunks = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=8))
    packed = data.draw(st.booleans())
    time = sum(chunks)
    layer = Canon(6, kernel=kernel, activation=data.draw(st.booleans()), implementation=implementation).double()
    x = draw(2, time, 6, seed=time)
    ids = torch.arange(time).expand(2, time) // 5 - 1 if packed else None
    state = layer.init_state(2, torch.float64, "cpu")
    pointers = {name: tensor.data_ptr() for name, tensor in state.items()}
    with torch.inference_mode():
        parts = [
            layer(part, None if ids is None else ids_part, state)
            for part, ids_part in zip(
                x.split(chunks, 1), (x[..., 0] if ids is None else ids).split(chunks, 1), strict=True
            )
        ]
        torch.testing.assert_close(torch.cat(parts, 1), layer(x, ids), rtol=1e-12, atol=1e-12)
    assert {name: tensor.data_ptr() for name, tensor in state.items()} == pointers


def test_state_is_plain_and_batch_first() -> None:
    state = Canon(6, kernel=5).init_state(3, torch.bfloat16, "cpu")
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()} == {
        "inputs": ((3, 4, 6), torch.bfloat16),
        "segments": ((3, 4), torch.int64),
    }
    assert not state["inputs"].any() and (state["segments"] == -1).all()


def test_beams_are_reordered_by_dimension_zero() -> None:
    layer = Canon(6).double()
    x, order = draw(3, 8, 6), torch.tensor([2, 0, 0])
    state = layer.init_state(3, torch.float64, "cpu")
    with torch.no_grad():
        layer(x[:, :5], state=state)
        for tensor in state.values():
            tensor.copy_(tensor.index_select(0, order))
        y = layer(x[:, 5:], state=state)
        expected = layer(torch.cat([x[order, :5], x[:, 5:]], dim=1))[:, 5:]
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stream", [False, True])
def test_left_padding_changes_nothing(stream: bool) -> None:
    layer = Canon(6).double()
    lengths = [9, 1, 4]
    padded = draw(3, 9, 6)
    ids = torch.full((3, 9), -1)
    for row, length in enumerate(lengths):
        ids[row, 9 - length :] = 0
    more = draw(3, 3, 6, seed=1)
    with torch.no_grad():
        if stream:  # a padded prompt, then tokens one by one without ids
            state = layer.init_state(3, torch.float64, "cpu")
            parts = [layer(padded, ids, state), *(layer(token, state=state) for token in more.split(1, dim=1))]
            y = torch.cat(parts, dim=1)
        else:
            y = layer(torch.cat([padded, more], dim=1), torch.cat([ids, torch.zeros(3, 3, dtype=ids.dtype)], dim=1))
        for row, length in enumerate(lengths):
            alone = layer(torch.cat([padded[row, 9 - length :], more[row]])[None])
            torch.testing.assert_close(y[row, 9 - length :][None], alone, rtol=1e-12, atol=1e-12)


def test_state_outlives_training_steps() -> None:
    """With gradients on, the state is updated without a graph, and gradients of the chunk are still right."""
    layer = Canon(6).double()
    x = draw(2, 8, 6).requires_grad_()
    state = layer.init_state(2, torch.float64, "cpu")
    layer(x[:, :5], state=state)
    layer(x[:, 5:], state=state).sum().backward()
    assert not state["inputs"].requires_grad
    assert torch.equal(state["inputs"], x.detach()[:, -3:])
    assert not x.grad[:, :5].any() and x.grad[:, 5:].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_streams_in_any_dtype(dtype: torch.dtype) -> None:
    layer = Canon(6)
    x = draw(1, 7, 6).to(dtype)
    state = layer.init_state(1, dtype, "cpu")
    with torch.no_grad():
        y = torch.cat([layer(token, state=state) for token in x.split(1, dim=1)], dim=1)
        assert y.dtype == dtype and torch.equal(y, layer(x))


def test_copies_and_moves() -> None:
    layer = Canon(6, kernel=3, activation=True, frozen=True)
    other = copy.deepcopy(layer).to(torch.bfloat16)
    assert other.weight.dtype == torch.bfloat16 and not other.weight.requires_grad
    assert other(torch.ones(1, 2, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16
    with torch.device("meta"):
        meta = Canon(6)
        assert meta(torch.ones(1, 2, 6)).is_meta
    assert repr(layer) == "Canon(6, kernel=3, residual=True, activation, frozen)"


@pytest.mark.parametrize(
    ("width", "options", "message"),
    [
        (6, {"kernel": 1}, "kernel = 1: must be from 2 to 8"),
        (6, {"kernel": 9}, "kernel = 9: must be from 2 to 8"),
        (0, {}, "width = 0: must be at least 1"),
        (6, {"implementation": "referense"}, r"unknown Canon implementation 'referense'; did you mean 'reference'\?"),
    ],
)
def test_errors(width: int, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Canon(width, **options)


def test_width_mismatch_is_named() -> None:
    with pytest.raises(ValueError, match=r"weight has shape \(4, 6\): must be \(kernel, 7\)"):
        Canon(6)(torch.zeros(1, 2, 7))
