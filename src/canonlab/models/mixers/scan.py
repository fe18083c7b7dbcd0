"""The recurrence over chunks, which every chunked linear mixer ends in: S_{c+1} = A_c S_c + U_c.

Operators of their own: a compiler sees one node whatever the number of chunks, where a traced loop would unroll.
`diagonal_scan` takes A_c as a decay per key channel, `delta_scan` as a decay per head less a product of two factors,
which it never forms.

Legend: B batch, C chunks, L positions in a chunk, H heads, K key width, V value width.
"""

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula


@torch.library.custom_op("canonlab::diagonal_scan", mutates_args=())
def diagonal_scan(decay_BCHK: Tensor, update_BCHKV: Tensor, initial_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    """The states before each chunk (B, C, H, K, V) and the state after the last one (B, H, K, V).

    S_0 is `initial_BHKV`, and S_{c+1}[k, v] = decay_c[k] S_c[k, v] + update_c[k, v]. Differentiable once.
    """
    before = torch.empty_like(update_BCHKV)
    state = initial_BHKV.clone()
    for chunk in range(update_BCHKV.shape[1]):
        before[:, chunk] = state
        state = torch.addcmul(update_BCHKV[:, chunk], decay_BCHK[:, chunk, ..., None], state)
    return before, state


@torch.library.custom_op("canonlab::diagonal_scan_backward", mutates_args=())
def _diagonal_backward(
    decay_BCHK: Tensor, before_BCHKV: Tensor, grad_before_BCHKV: Tensor, grad_final_BHKV: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grad_decay, grad_update = torch.empty_like(decay_BCHK), torch.empty_like(before_BCHKV)
    grad = grad_final_BHKV.clone()
    for chunk in range(before_BCHKV.shape[1] - 1, -1, -1):
        grad_update[:, chunk] = grad
        grad_decay[:, chunk] = (grad * before_BCHKV[:, chunk]).sum(-1)
        grad = torch.addcmul(grad_before_BCHKV[:, chunk], decay_BCHK[:, chunk, ..., None], grad)
    return grad_decay, grad_update, grad


@diagonal_scan.register_fake
def _(a: Tensor, update_BCHKV: Tensor, initial_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(update_BCHKV), torch.empty_like(initial_BHKV)


@_diagonal_backward.register_fake
def _(a: Tensor, before: Tensor, grad_before: Tensor, grad_final: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(a), torch.empty_like(before), torch.empty_like(grad_final)


def _remember(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(inputs[0], output[0])


def _differentiate(operator):  # type: ignore[no-untyped-def]
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        return operator(*ctx.saved_tensors, *(grad.contiguous() for grad in grads))

    return backward


diagonal_scan.register_autograd(_differentiate(_diagonal_backward), setup_context=_remember)


@torch.library.custom_op("canonlab::delta_scan", mutates_args=())
def delta_scan(
    decay_BCH: Tensor, write_BCHLK: Tensor, read_BCHLK: Tensor, value_BCHLV: Tensor, initial_BHKV: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The states before each chunk, what each position writes (B, C, H, L, V), and the state after the last chunk.

    S_0 is `initial_BHKV`, written_c = value_c - read_c S_c, and S_{c+1} = decay_c S_c + write_c^T written_c. That is
    S_{c+1} = A_c S_c + U_c with A_c = decay_c - write_c^T read_c and U_c = write_c^T value_c, and neither is formed.
    Everything is in the dtype given, whatever autocast would have. Differentiable once.
    """
    before = value_BCHLV.new_empty(*decay_BCH.shape, *initial_BHKV.shape[-2:])
    written = value_BCHLV.new_empty(value_BCHLV.shape)
    state = initial_BHKV.clone(memory_format=torch.contiguous_format)
    with torch.autocast(state.device.type, enabled=False):
        for chunk in range(decay_BCH.shape[1]):
            before[:, chunk] = state
            written[:, chunk] = value_BCHLV[:, chunk] - read_BCHLK[:, chunk] @ state
            state = decay_BCH[:, chunk, :, None, None] * state + write_BCHLK[:, chunk].mT @ written[:, chunk]
    return before, written, state


@torch.library.custom_op("canonlab::delta_scan_backward", mutates_args=())
def _delta_backward(
    decay_BCH: Tensor,
    write_BCHLK: Tensor,
    read_BCHLK: Tensor,
    before_BCHKV: Tensor,
    written_BCHLV: Tensor,
    grad_before_BCHKV: Tensor,
    grad_written_BCHLV: Tensor,
    grad_final_BHKV: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    grad_after, grad_value = torch.empty_like(before_BCHKV), torch.empty_like(written_BCHLV)
    grad = grad_final_BHKV.clone()
    with torch.autocast(grad.device.type, enabled=False):
        for chunk in range(decay_BCH.shape[1] - 1, -1, -1):
            grad_after[:, chunk] = grad
            grad_value[:, chunk] = grad_written_BCHLV[:, chunk] + write_BCHLK[:, chunk] @ grad
            grad = torch.addcmul(grad_before_BCHKV[:, chunk], decay_BCH[:, chunk, :, None, None], grad)
            grad -= read_BCHLK[:, chunk].mT @ grad_value[:, chunk]
        grad_decay = (grad_after * before_BCHKV).sum((-2, -1))
        grad_write = written_BCHLV @ grad_after.mT
        grad_read = -(grad_value @ before_BCHKV.mT)
    return grad_decay, grad_write, grad_read, grad_value, grad


@delta_scan.register_fake
def _(decay: Tensor, write: Tensor, read: Tensor, value: Tensor, initial: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    before = value.new_empty(*decay.shape, *initial.shape[-2:])
    return before, value.new_empty(value.shape), initial.new_empty(initial.shape)


@_delta_backward.register_fake
def _(decay: Tensor, write: Tensor, read: Tensor, before: Tensor, written: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in (decay, write, read, written, before[:, 0]))


def _remember_delta(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:3], *output[:2])


delta_scan.register_autograd(_differentiate(_delta_backward), setup_context=_remember_delta)


@register_flop_formula(torch.ops.canonlab.delta_scan)
def _(decay_shape, write_shape, _read_shape, value_shape, *_, **__) -> int:  # type: ignore[no-untyped-def]
    return 4 * int(torch.Size(write_shape).numel()) * value_shape[-1]
