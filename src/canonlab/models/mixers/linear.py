"""Linear recurrences with a matrix for a state, for any mixer: one definition, and what computes it fast.

Per head, from S_0 = 0, with a_t a decay between 0 and 1 of the head or of each key channel:

    D_t = diag(a_t) S_{t-1}
    S_t = D_t + k_t v_t^T - e_t (D_t^T r_t)^T        o_t = S_t^T q_t                               (1)

What stands under the key r_t (`read`) is taken away from under the key e_t (`erase`, k_t unless it is given); without
r_t nothing is. So the transition is diagonal plus of rank one, and these are the recurrences of many mixers:

    linear attention      a = 1
    RetNet, Mamba2        a of the head
    GLA, HGRN2            a of each channel; HGRN2 has k = 1 - a
    (gated) DeltaNet      k = beta u, r = u for a key u of norm 1; a = 1, or of the head
    KDA                   the same, a of each channel
    Gated DeltaNet-2      k = u, r = b u, v = w v, gates b and w of each channel
    DeltaProduct          n positions for each token: the first one decays, only of the last one o is used
    RWKV-7                k of its own, e = a u, r = u / w, a = w: S (diag(w) - u (a u)^T) in its authors' letters

`recurrent` is (1) token by token. `chunked` is the same in matrix products over chunks of L positions, with work linear
in time. Write D(j, i] for the product of the decays a_{j+1} .. a_i and S for the state before a chunk. What position i
reads is

    u_i = (D(start, i] r_i)^T S + sum_{j < i} (r_i . D(j, i] k_j) v_j - (r_i . D(j, i] e_j) u_j,

a unit lower triangular system, (I + M) u = R S + N v. It is solved for all chunks at once; then

    o_i = (D(start, i] q_i)^T S + sum_{j <= i} (q_i . D(j, i] k_j) v_j - (q_i . D(j, i] e_j) u_j
    S'  = diag(D(start, end]) S + sum_j (D(j, end] k_j) v_j^T - (D(j, end] e_j) u_j^T.

With e = k only v - u is needed, which is half of the products. `stepped` is (1) in compiled code, for small states on a
CPU.

Sources: Yang et al., arXiv 2406.06484, for the delta rule in chunks; arXiv 2312.06635 for decays of channels.
Legend: B batch, T time, C chunks, L positions in a chunk, N blocks in a chunk, H heads, K key width, V value width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.errors import InputError
from canonlab.models.mixers import fla, stepwise
from canonlab.models.mixers.decays import ChannelDecays, Decays, HeadDecays
from canonlab.models.mixers.recurrence import begins, first_state
from canonlab.models.mixers.scan import delta_scan, diagonal_scan

CHUNK = 64
"""Positions in a chunk: of 16 to 128 within 4% of the fastest on a CPU with decays of heads, for 512 and 4096 tokens;
nearly as fast as 32 with those of channels, and half of the memory for states."""


def linear_recurrence(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay: Tensor,
    *,
    read_BTHK: Tensor | None = None,
    erase_BTHK: Tensor | None = None,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
    implementation: str = "torch",
) -> tuple[Tensor, Tensor]:
    """Equation (1) by what is fastest: o (B, T, H, V) in the dtype of v, and the state after the last position.

    Args:
        log_decay: log a, at most 0, (B, T, H) or (B, T, H, K); its dtype, float32 or float64, is that of the state.
        initial_BHKV: the state before the first position, in its segment; None is zero.
        segment_ids: (B, T); the state is zero again wherever it changes along T.
        implementation: of the mixer (`Mixer.implementation`); one position is always by the definition.
    """
    if log_decay.dtype not in (torch.float32, torch.float64):
        raise InputError(f"log_decay is {log_decay.dtype}: must be float32 or float64, as the states are")
    inputs: dict[str, Any] = {
        "read_BTHK": read_BTHK,
        "erase_BTHK": erase_BTHK,
        "initial_BHKV": initial_BHKV,
        "segment_ids": segment_ids,
    }
    if v_BTHV.shape[1] == 1:
        form = recurrent
    elif implementation == "fla":
        form = fla.linear
    elif implementation == "numba" and stepwise.fits(v_BTHV, k_BTHK.shape[-1], v_BTHV.shape[-1]):
        form = stepped
    else:
        form = chunked
    return form(q_BTHK, k_BTHK, v_BTHV, log_decay, **inputs)


def recurrent(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay: Tensor,
    *,
    read_BTHK: Tensor | None = None,
    erase_BTHK: Tensor | None = None,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The definition; arguments and results as of `linear_recurrence`."""
    S = first_state(initial_BHKV, v_BTHV, k_BTHK.shape[-1], log_decay.dtype)
    a = _restarting(log_decay, segment_ids).exp()
    a_BTHK = a[..., None] if a.ndim == 3 else a
    q, k, v = (x.to(S.dtype) for x in (q_BTHK, k_BTHK, v_BTHV))
    outputs = []
    for t in range(v.shape[1]):
        # Not a product: what an earlier segment left could be infinite.
        S = torch.where(a_BTHK[:, t, :, :, None] == 0, 0, a_BTHK[:, t, :, :, None] * S)
        written = k[:, t, :, :, None] * v[:, t, :, None, :]
        if read_BTHK is not None:
            erase = k[:, t] if erase_BTHK is None else erase_BTHK[:, t].to(S.dtype)
            written = written - erase[..., None] * (read_BTHK[:, t].to(S.dtype)[..., None] * S).sum(-2, keepdim=True)
        S = S + written
        outputs.append((q[:, t, :, :, None] * S).sum(-2))
    return torch.stack(outputs, 1).to(v_BTHV.dtype), S


def chunked(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay: Tensor,
    *,
    read_BTHK: Tensor | None = None,
    erase_BTHK: Tensor | None = None,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """`recurrent` by matrix products over chunks of `chunk` positions, a power of two where decays are of channels."""
    time, dtype = v_BTHV.shape[1], log_decay.dtype
    initial_BHKV = first_state(initial_BHKV, v_BTHV, k_BTHK.shape[-1], dtype)
    decays: Decays
    if log_decay.ndim == 3:
        length = min(chunk, time)
        decays = HeadDecays(_cut(log_decay, length), segment_ids)
    else:
        length = 1
        while length < min(chunk, time):
            length *= 2
        decays = ChannelDecays(_cut(_restarting(log_decay, segment_ids), length))
    if read_BTHK is None:
        common = torch.promote_types(q_BTHK.dtype, k_BTHK.dtype)
        q, k, v = (_cut(x, length) for x in (q_BTHK.to(common), k_BTHK.to(common), v_BTHV))
        o_BCHLV, final_BHKV = _without_reads(decays, q, k, v, initial_BHKV)
    else:
        # Under autocast products alone are in half precision: the triangular system hands errors on along the chunk.
        q, k, v, read = (_cut(x.to(dtype), length) for x in (q_BTHK, k_BTHK, v_BTHV, read_BTHK))
        erase = None if erase_BTHK is None else _cut(erase_BTHK.to(dtype), length)
        o_BCHLV, final_BHKV = _with_reads(decays, q, k, v, read, erase, initial_BHKV)
    return o_BCHLV.transpose(2, 3).flatten(1, 2)[:, :time].to(v_BTHV.dtype), final_BHKV


def _without_reads(decays: Decays, q: Tensor, k: Tensor, v: Tensor, initial_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    """o (B, C, H, L, V) and the last state. Decays are float32 or float64; products have the dtype of v."""
    update_BCHKV = decays.until_end(k).to(v.dtype).mT @ v
    before_BCHKV, final_BHKV = diagonal_scan(decays.whole_BCHK, update_BCHKV.to(initial_BHKV.dtype), initial_BHKV)
    within_BCHLL = decays.between(q, k).to(v.dtype)
    return within_BCHLL @ v + decays.since_start(q).to(v.dtype) @ before_BCHKV.to(v.dtype), final_BHKV


def _with_reads(
    decays: Decays, q: Tensor, k: Tensor, v: Tensor, read: Tensor, erase: Tensor | None, initial_BHKV: Tensor
) -> tuple[Tensor, Tensor]:
    """The same where something is read; all in the dtype of the state."""
    both = torch.stack([read, q])  # one product for two
    m, scores = decays.between(both, k if erase is None else erase)
    identity = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device).expand_as(m)
    # (I + M)^-1 itself, as it is needed twice. Of M only the entries below the diagonal are read.
    inverse = torch.linalg.solve_triangular(m, identity, upper=False, unitriangular=True)
    reads = (inverse @ decays.since_start(read)).to(v.dtype)
    from_before = decays.since_start(q)
    if erase is None:
        value = (inverse @ v).to(v.dtype)
        before, net, final = delta_scan(decays.whole_BCHK, decays.until_end(k), reads, value, None, initial_BHKV)
        return from_before @ before + scores @ net, final
    n, direct = decays.between(both, k)
    value = -(inverse @ (n.tril(-1) @ v)).to(v.dtype)
    update = (decays.until_end(k).mT @ v).to(v.dtype)
    # What is written is -u, under the key e.
    before, net, final = delta_scan(decays.whole_BCHK, decays.until_end(erase), reads, value, update, initial_BHKV)
    return from_before @ before + direct @ v + scores @ net, final


def stepped(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay: Tensor,
    *,
    read_BTHK: Tensor | None = None,
    erase_BTHK: Tensor | None = None,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`recurrent` in compiled code, for small states (`stepwise.fits`)."""
    first_BHKV = first_state(initial_BHKV, v_BTHV, k_BTHK.shape[-1], log_decay.dtype)
    a = _restarting(log_decay, segment_ids).exp()
    a_BTHK = a if a.ndim == 4 else a[..., None].expand(k_BTHK.shape)
    q, k, v = (x.to(a.dtype) for x in (q_BTHK, k_BTHK, v_BTHV))
    read, erase = (None if x is None else x.to(a.dtype) for x in (read_BTHK, erase_BTHK))
    o_BTHV, final_BHKV = stepwise.rows(q, k, v, a_BTHK, read, erase, first_BHKV)
    return o_BTHV.to(v_BTHV.dtype), final_BHKV


def _restarting(log_decay: Tensor, segment_ids: Tensor | None) -> Tensor:
    """The log decays, -inf where a segment begins: nothing is left of the state before."""
    if segment_ids is None:
        return log_decay
    starts_BT11 = begins(segment_ids)[..., None, None]
    return log_decay.masked_fill(starts_BT11 if log_decay.ndim == 4 else starts_BT11[..., 0], -torch.inf)


def _cut(x: Tensor, length: int) -> Tensor:
    """(B, T, H, ...) -> (B, C, H, L, ...), filled up with zeros, which write nothing and let nothing decay."""
    missing = -x.shape[1] % length
    padded = F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing)) if missing else x
    return padded.unflatten(1, (-1, length)).transpose(2, 3).contiguous()
