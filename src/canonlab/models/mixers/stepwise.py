"""Linear recurrences position by position in compiled code, for states so small that products over chunks don't pay.

A chunked form is some fifty operators, each of which costs more than its arithmetic when heads are a few channels
wide. Two loops serve all mixers here; both take what a `recurrent` takes, and are its twins:

    rows       a decay for each key of a head, with the delta rule or without: all of `linear.py`
    columns    keys and queries of all heads in common, a decay for each value: Mamba2

The states of a sequence, which the gradients need, are computed again where they are: in a core's cache. So there is a
limit to their size (`fits`).

Legend: B batch, T time, H heads, K key width, V value width, N = H V.
"""

from typing import Any

import torch
from torch import Tensor

from canonlab.canon.functional import HAS_NUMBA, MAY_COMPILE
from canonlab.canon.threads import in_parallel
from canonlab.canon.transforms import Operator, captured, transformed

MOST_STATES = 1 << 21
"""Numbers in all states of a sequence. With so many, 512 positions of 64 x 64 in a head, the loops of rows take 0.3 to
0.6 times as long as chunks on one core of an AMD EPYC (Zen 5), those of columns 1.2 times; with twice as many rows take
0.4 to 0.9 times, columns 1.5 times as long (`canonlab bench mixers`)."""

STATES_PER_THREAD = 1 << 17
"""Numbers in the states below which a thread costs more than it saves."""


def available(device: torch.device | str) -> bool:
    """Whether the loops can run there."""
    return HAS_NUMBA and MAY_COMPILE and torch.device(device).type == "cpu"


def fits(v: Tensor, keys: int, values: int) -> bool:
    """Whether the loops are for `v` (B, T, ...) and states of keys x values: on a CPU, and not in half precision."""
    here = v.device.type == "cpu" and v.dtype in (torch.float32, torch.float64)
    small = v.shape[1] * keys * values <= MOST_STATES
    return here and small and not transformed() and not captured()


def _plain_rows(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    decay_BTHK: Tensor,
    read_BTHK: Tensor | None,
    erase_BTHK: Tensor | None,
    first_BHKV: Tensor,
) -> tuple[Tensor, Tensor]:
    S, outputs = first_BHKV, []
    for t in range(q_BTHK.shape[1]):
        S = decay_BTHK[:, t, :, :, None] * S
        written = k_BTHK[:, t, :, :, None] * v_BTHV[:, t, :, None]
        if read_BTHK is not None:
            erase = k_BTHK if erase_BTHK is None else erase_BTHK
            written = written - erase[:, t, :, :, None] * (read_BTHK[:, t, :, :, None] * S).sum(-2, keepdim=True)
        S = S + written
        outputs.append((q_BTHK[:, t, :, :, None] * S).sum(-2))
    return torch.stack(outputs, 1), S


def _plain_columns(
    q_BTK: Tensor, k_BTK: Tensor, v_BTN: Tensor, decay_BTH: Tensor, first_BKN: Tensor
) -> tuple[Tensor, Tensor]:
    S, outputs = first_BKN, []
    decay_BTN = decay_BTH.repeat_interleave(v_BTN.shape[-1] // decay_BTH.shape[-1], -1)
    for t in range(q_BTK.shape[1]):
        S = decay_BTN[:, t, None] * S + k_BTK[:, t, :, None] * v_BTN[:, t, None]
        outputs.append((q_BTK[:, t, :, None] * S).sum(-2))
    return torch.stack(outputs, 1), S


def _empty(*tensors: Tensor) -> list[Tensor]:
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]


def _run(loop: str, states: int, *arguments: Any) -> None:
    """Run a loop over the rows of a batch, on as many threads as PyTorch itself would use at most.

    `states` is how many numbers there are in all states of all sequences. Tensors have the batch first, and no thread
    writes where another does: the results don't hang on their number.
    """
    from canonlab.models.mixers import loops  # numba takes a second to load: only for those who use it

    whole = [x.detach().contiguous() if isinstance(x, Tensor) else x for x in arguments]
    batch = len(whole[0])
    threads = max(1, min(torch.get_num_threads(), batch, states // STATES_PER_THREAD))

    def run(thread: int) -> None:
        mine = slice(batch * thread // threads, batch * (thread + 1) // threads)
        getattr(loops, loop)(*(x[mine].numpy() if isinstance(x, Tensor) else x for x in whole))

    in_parallel(run, threads)


NOTHING_READ, KEYS_ERASED, OTHERS_ERASED = 0, 1, 2
"""For the loops of rows: S_t = D_t + k_t v_t^T, and what r_t reads taken from under nothing, k_t or e_t."""


def _reads(read: Tensor | None, erase: Tensor | None) -> int:
    return NOTHING_READ if read is None else KEYS_ERASED if erase is None else OTHERS_ERASED


def _run_rows(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    decay_BTHK: Tensor,
    read_BTHK: Tensor | None,
    erase_BTHK: Tensor | None,
    first_BHKV: Tensor,
) -> tuple[Tensor, Tensor]:
    (o_BTHV,), state_BHKV = _empty(v_BTHV), first_BHKV.clone(memory_format=torch.contiguous_format)
    # In place of what there isn't stand the keys, which nobody reads there.
    given = [k_BTHK if x is None else x for x in (read_BTHK, erase_BTHK)]
    inputs = (q_BTHK, k_BTHK, v_BTHV, decay_BTHK, *given, _reads(read_BTHK, erase_BTHK))
    _run("rows_forward", q_BTHK.shape[1] * first_BHKV.numel(), *inputs, state_BHKV, o_BTHV)
    return o_BTHV, state_BHKV


def _run_columns(
    q_BTK: Tensor, k_BTK: Tensor, v_BTN: Tensor, decay_BTH: Tensor, first_BKN: Tensor
) -> tuple[Tensor, Tensor]:
    (o_BTN,), state_BKN = _empty(v_BTN), first_BKN.clone(memory_format=torch.contiguous_format)
    _run("columns_forward", q_BTK.shape[1] * first_BKN.numel(), q_BTK, k_BTK, v_BTN, decay_BTH, state_BKN, o_BTN)
    return o_BTN, state_BKN


def _run_rows_backward(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    decay_BTHK: Tensor,
    read_BTHK: Tensor | None,
    erase_BTHK: Tensor | None,
    first_BHKV: Tensor,
    go_BTHV: Tensor,
    gfinal_BHKV: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    given = [k_BTHK if x is None else x for x in (read_BTHK, erase_BTHK)]
    inputs, g_BHKV = (q_BTHK, k_BTHK, v_BTHV, decay_BTHK, *given), gfinal_BHKV.clone()
    found = [*_empty(*inputs[:4]), *(torch.zeros_like(x) for x in given)]
    states = q_BTHK.shape[1] * first_BHKV.numel()
    _run("rows_backward", states, *inputs, _reads(read_BTHK, erase_BTHK), first_BHKV, go_BTHV, g_BHKV, *found)
    return *found, g_BHKV  # type: ignore[return-value]


def _run_columns_backward(
    q_BTK: Tensor,
    k_BTK: Tensor,
    v_BTN: Tensor,
    decay_BTH: Tensor,
    first_BKN: Tensor,
    go_BTN: Tensor,
    gfinal_BKN: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs, g_BKN = (q_BTK, k_BTK, v_BTN, decay_BTH), gfinal_BKN.clone()
    found, states = _empty(*inputs), q_BTK.shape[1] * first_BKN.numel()
    _run("columns_backward", states, *inputs, first_BKN, go_BTN, g_BKN, *found)
    return *found, g_BKN  # type: ignore[return-value]


def _plain_rows_backward(*inputs: Any) -> tuple[Tensor, ...]:
    *given, go, gfinal = inputs
    there = [i for i, x in enumerate(given) if x is not None]

    def forward(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        found = dict(zip(there, tensors, strict=True))
        return _plain_rows(*(found.get(i) for i in range(len(given))))  # type: ignore[arg-type]

    grads = dict(zip(there, torch.func.vjp(forward, *(given[i] for i in there))[1]((go, gfinal)), strict=True))
    return tuple(grads.get(i, torch.zeros_like(given[1])) for i in range(len(given)))


def _plain_columns_backward(*inputs: Tensor) -> tuple[Tensor, ...]:
    *tensors, go, gfinal = inputs
    return torch.func.vjp(_plain_columns, *tensors)[1]((go, gfinal))


rows = Operator("canonlab::rows", _plain_rows, _run_rows, "cpu")
"""q, k, decay (B, T, H, K), v (B, T, H, V), read r and erase e (B, T, H, K) or None, the first state (B, H, K, V) -> o
(B, T, H, V) and the last state: equation (1) of `linear.py`."""

columns = Operator("canonlab::columns", _plain_columns, _run_columns, "cpu")
"""q, k (B, T, K), v (B, T, N), decay (B, T, H), the first state (B, K, N) -> o (B, T, N) and the last state:

    S_t = S_{t-1} diag(decay_t, each V times) + k_t v_t^T,    o_t = S_t^T q_t."""

rows_backward = Operator("canonlab::rows_backward", _plain_rows_backward, _run_rows_backward, "cpu")
columns_backward = Operator("canonlab::columns_backward", _plain_columns_backward, _run_columns_backward, "cpu")


@rows.node.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(_empty(v, rest[-1]))  # type: ignore[arg-type]


@columns.node.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, first: Tensor) -> tuple[Tensor, ...]:
    return tuple(_empty(v, first))


@rows_backward.node.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, read: Tensor | None, erase: Tensor | None, first: Tensor, *_: Any
) -> tuple[Tensor, ...]:
    return tuple(_empty(q, k, v, decay, k, k, first))


@columns_backward.node.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, first: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return tuple(_empty(q, k, v, decay, first))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(operator: Any) -> Any:
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        # Gradients are enabled when those of these gradients are wanted, and the operator has none.
        run = operator.plain if torch.is_grad_enabled() else operator
        found = run(*inputs, *(grad.contiguous() for grad in grads))
        return tuple(None if x is None else grad for x, grad in zip(inputs, found, strict=True))

    return backward


rows.node.register_autograd(_differentiate(rows_backward), setup_context=_remember)
columns.node.register_autograd(_differentiate(columns_backward), setup_context=_remember)
