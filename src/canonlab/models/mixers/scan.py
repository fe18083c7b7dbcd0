"""The recurrence over chunks, which every chunked linear mixer ends in: S_{c+1} = A_c S_c + U_c.

Operators of their own: a compiler sees one node whatever the number of chunks, where a traced loop would unroll.
`diagonal_scan` takes A_c as a decay per key channel, `delta_scan` as one less a product of two factors, which it never
forms.

Legend: B batch, C chunks, L positions in a chunk, H heads, K key width, V value width, D decays of a head: K, or one.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from canonlab.canon.transforms import Operator


@partial(Operator, "canonlab::diagonal_scan")
def diagonal_scan(decay_BCHD: Tensor, update_BCHKV: Tensor, initial_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    """The states before each chunk (B, C, H, K, V) and the state after the last one (B, H, K, V).

    S_0 is `initial_BHKV`, and S_{c+1}[k, v] = decay_c[k] S_c[k, v] + update_c[k, v].
    """
    states = [initial_BHKV]
    for decay, update in zip(decay_BCHD[..., None].unbind(1), update_BCHKV.unbind(1), strict=True):
        states.append(torch.addcmul(update, decay, states[-1]))
    return torch.stack(states[:-1], 1), states[-1]


@partial(Operator, "canonlab::diagonal_scan_backward")
def _diagonal_backward(
    decay_BCHD: Tensor, before_BCHKV: Tensor, grad_before_BCHKV: Tensor, grad_final_BHKV: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grads, grad_decays = [grad_final_BHKV], []
    for decay, before, grad_before in _reversed(decay_BCHD[..., None], before_BCHKV, grad_before_BCHKV):
        grad_decays.append(_of_decays(grads[-1] * before, decay_BCHD))
        grads.append(torch.addcmul(grad_before, decay, grads[-1]))
    return torch.stack(grad_decays[::-1], 1), torch.stack(grads[-2::-1], 1), grads[-1]


def _of_decays(grad_HKV: Tensor, decay_BCHD: Tensor) -> Tensor:
    """The gradient of decays, given those of all numbers that they are multiplied with."""
    grad_HK = grad_HKV.sum(-1)
    return grad_HK if decay_BCHD.shape[-1] == grad_HK.shape[-1] else grad_HK.sum(-1, keepdim=True)


def _reversed(*inputs: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The inputs chunk by chunk, from the last on."""
    return zip(*(x.unbind(1)[::-1] for x in inputs), strict=True)


@diagonal_scan.node.register_fake
def _(a: Tensor, update_BCHKV: Tensor, initial_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    return update_BCHKV.new_empty(update_BCHKV.shape), initial_BHKV.new_empty(initial_BHKV.shape)


@_diagonal_backward.node.register_fake
def _(a: Tensor, before: Tensor, grad_before: Tensor, grad_final: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in (a, before, grad_final))


def _remember(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(inputs[0], output[0])


def _differentiate(operator):  # type: ignore[no-untyped-def]
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        # Gradients are enabled when those of these gradients are wanted, and the operator has none.
        run = operator.plain if torch.is_grad_enabled() else operator
        return run(*ctx.saved_tensors, *(grad.contiguous() for grad in grads))

    return backward


diagonal_scan.node.register_autograd(_differentiate(_diagonal_backward), setup_context=_remember)


@partial(Operator, "canonlab::delta_scan")
def delta_scan(
    decay_BCHD: Tensor,
    write_BCHLK: Tensor,
    read_BCHLK: Tensor,
    value_BCHLV: Tensor,
    update_BCHKV: Tensor | None,
    initial_BHKV: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The states before each chunk, what each position writes (B, C, H, L, V), and the state after the last chunk.

    S_0 is `initial_BHKV`, written_c = value_c - read_c S_c, and S_{c+1} = decay_c S_c + update_c + write_c^T written_c;
    no update is zero. That is S_{c+1} = A_c S_c + U_c with A_c = decay_c - write_c^T read_c, which is never formed.
    Everything is in the dtype given, whatever autocast would have.
    """
    states, written = [initial_BHKV.contiguous()], []
    inputs = (decay_BCHD[..., None], write_BCHLK, read_BCHLK, value_BCHLV)
    with torch.autocast(initial_BHKV.device.type, enabled=False):
        for c, (decay, write, read, value) in enumerate(zip(*(x.unbind(1) for x in inputs), strict=True)):
            written.append(value - read @ states[-1])
            state = decay * states[-1] + write.mT @ written[-1]
            states.append(state if update_BCHKV is None else state + update_BCHKV[:, c])
    return torch.stack(states[:-1], 1), torch.stack(written, 1), states[-1]


@partial(Operator, "canonlab::delta_scan_backward")
def _delta_backward(
    decay_BCHD: Tensor,
    write_BCHLK: Tensor,
    read_BCHLK: Tensor,
    before_BCHKV: Tensor,
    written_BCHLV: Tensor,
    grad_before_BCHKV: Tensor,
    grad_written_BCHLV: Tensor,
    grad_final_BHKV: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    grads, grad_values = [grad_final_BHKV], []
    inputs = (decay_BCHD[..., None], write_BCHLK, read_BCHLK, grad_before_BCHKV, grad_written_BCHLV)
    with torch.autocast(grad_final_BHKV.device.type, enabled=False):
        for decay, write, read, grad_before, grad_written in _reversed(*inputs):
            grad_values.append(grad_written + write @ grads[-1])
            grads.append(torch.addcmul(grad_before, decay, grads[-1]) - read.mT @ grad_values[-1])
        grad_after, grad_value = torch.stack(grads[-2::-1], 1), torch.stack(grad_values[::-1], 1)
        grad_decay = _of_decays(grad_after * before_BCHKV, decay_BCHD)
        grad_write = written_BCHLV @ grad_after.mT
        grad_read = -(grad_value @ before_BCHKV.mT)
    return grad_decay, grad_write, grad_read, grad_value, grad_after, grads[-1]


@delta_scan.node.register_fake
def _(
    decay: Tensor, write: Tensor, read: Tensor, value: Tensor, update: Tensor | None, initial: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    before = value.new_empty(*decay.shape[:3], *initial.shape[-2:])
    return before, value.new_empty(value.shape), initial.new_empty(initial.shape)


@_delta_backward.node.register_fake
def _(decay: Tensor, write: Tensor, read: Tensor, before: Tensor, written: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in (decay, write, read, written, before, before[:, 0]))


def _remember_delta(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.updates = inputs[4] is not None
    ctx.save_for_backward(*inputs[:3], *output[:2])


def _differentiate_delta(ctx, *grads):  # type: ignore[no-untyped-def]
    *found, update, initial = _differentiate(_delta_backward)(ctx, *grads)
    return *found, update if ctx.updates else None, initial


delta_scan.node.register_autograd(_differentiate_delta, setup_context=_remember_delta)


@register_flop_formula(torch.ops.canonlab.delta_scan)
def _(decay_shape, write_shape, _read_shape, value_shape, *_, **__) -> int:  # type: ignore[no-untyped-def]
    return 4 * int(torch.Size(write_shape).numel()) * value_shape[-1]
