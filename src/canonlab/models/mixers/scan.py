"""The recurrence over chunks, which every chunked linear mixer ends in: S_{c+1} = A_c S_c + U_c.

Operators of their own: a compiler sees one node whatever the number of chunks, where a traced loop would unroll.
`diagonal_scan` takes A_c as a decay per key channel, `matrix_scan` as a full matrix. Legend: B batch, C chunks, H heads,
K key width, V value width.
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


@torch.library.custom_op("canonlab::matrix_scan", mutates_args=())
def matrix_scan(transition_BCHKK: Tensor, update_BCHKV: Tensor, initial_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    """As `diagonal_scan`, with S_{c+1} = transition_c S_c + update_c."""
    before = torch.empty_like(update_BCHKV)
    state = initial_BHKV.clone()
    for chunk in range(update_BCHKV.shape[1]):
        before[:, chunk] = state
        state = update_BCHKV[:, chunk] + transition_BCHKK[:, chunk] @ state
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


@torch.library.custom_op("canonlab::matrix_scan_backward", mutates_args=())
def _matrix_backward(
    transition_BCHKK: Tensor, before_BCHKV: Tensor, grad_before_BCHKV: Tensor, grad_final_BHKV: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grad_update = torch.empty_like(before_BCHKV)
    grad = grad_final_BHKV.clone()
    for chunk in range(before_BCHKV.shape[1] - 1, -1, -1):
        grad_update[:, chunk] = grad
        grad = grad_before_BCHKV[:, chunk] + transition_BCHKK[:, chunk].mT @ grad
    return grad_update @ before_BCHKV.mT, grad_update, grad


@diagonal_scan.register_fake
@matrix_scan.register_fake
def _(a: Tensor, update_BCHKV: Tensor, initial_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(update_BCHKV), torch.empty_like(initial_BHKV)


@_diagonal_backward.register_fake
@_matrix_backward.register_fake
def _(a: Tensor, before: Tensor, grad_before: Tensor, grad_final: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(a), torch.empty_like(before), torch.empty_like(grad_final)


def _remember(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(inputs[0], output[0])


def _differentiate(operator):  # type: ignore[no-untyped-def]
    def backward(ctx, grad_before, grad_final):  # type: ignore[no-untyped-def]
        return operator(*ctx.saved_tensors, grad_before.contiguous(), grad_final.contiguous())

    return backward


diagonal_scan.register_autograd(_differentiate(_diagonal_backward), setup_context=_remember)
matrix_scan.register_autograd(_differentiate(_matrix_backward), setup_context=_remember)


@register_flop_formula(torch.ops.canonlab.matrix_scan)
def _(transition_shape, update_shape, *_, **__) -> int:  # type: ignore[no-untyped-def]
    *_, keys, values = update_shape
    return 2 * int(torch.Size(transition_shape).numel()) * values
