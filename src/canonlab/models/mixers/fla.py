"""The GPU kernels of flash-linear-attention (package `fla-core`), called with this package's shapes and segments.

Each function computes, per head, a linear recurrence over time and returns what its plain PyTorch twin in the mixer's
own file returns: outputs o (B, T, H, V) in the dtype of v, and the state after the last token (B, H, K, V), float32.
Legend: B batch, T time, H heads, K key width, V value width, N sequences in a flattened batch.

`segment_ids` (B, T) or None for one segment a row: the recurrence starts anew wherever the id changes along a row.
`initial_BHKV`, or None for zeros, belongs to the first segment of each row; the caller zeroes it for rows whose
first segment isn't the one that the state has seen.

The package is imported when a kernel first runs; nothing here needs it before.
"""

import importlib
import importlib.util
import re
from importlib import metadata

import torch
from torch import Tensor

from canonlab.canon.transforms import transformed
from canonlab.errors import InputError
from canonlab.models.mixers.recurrence import begins

IMPLEMENTATIONS = ("torch", "numba", "fla")
"""What computes a linear mixer: plain PyTorch, on every device; loops of `stepwise` on a CPU, where states are small;
or these kernels."""

OLDEST = (0, 6)
"""The first version of fla-core that will do: the delta rule's kernel of earlier ones refuses float32."""


def available(device: torch.device | str) -> bool:
    """Whether the kernels can run on the device."""
    return _missing(device) is None


def require(device: torch.device | str) -> None:
    """InputError where the kernels cannot run on the device, saying what is missing."""
    if missing := _missing(device):
        raise InputError(f"linear = 'fla': {missing} (allowed: {', '.join(IMPLEMENTATIONS)})")


def _missing(device: torch.device | str) -> str | None:
    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        return f"needs a CUDA device and is to run on {str(device)!r}"
    wanted = f"fla-core>={OLDEST[0]}.{OLDEST[1]}"
    packages = {"fla": f"'{wanted}'", "einops": "einops", "triton": "triton"}
    if absent := [name for package, name in packages.items() if importlib.util.find_spec(package) is None]:
        return f"not installed: pip install {' '.join(absent)}"
    try:
        version = metadata.version("fla-core")
    except metadata.PackageNotFoundError:  # another package, or flash-linear-attention before it split, has a `fla`
        return f"not installed: pip install '{wanted}'"
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        return f"fla-core is {version}, too old: pip install '{wanted}'"
    return None


def linear(
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
    """Any recurrence of `linear.py`: by the kernel for decays of heads or channels, or that for general transitions.

    The last one reads before the decay, S_t = diag(a_t) S_{t-1} + k_t v_t^T + e_t (S_{t-1}^T r'_t)^T, so that
    r' = -a r.
    """
    inputs = {"q": q_BTHK, "k": k_BTHK, "v": v_BTHV}
    if read_BTHK is None:
        kind = "simple_gla" if log_decay.ndim == 3 else "gla"
        return _run(f"fla.ops.{kind}", f"chunk_{kind}", inputs | {"g": log_decay}, initial_BHKV, segment_ids)
    log_decay_BTHK = log_decay if log_decay.ndim == 4 else log_decay[..., None].expand(k_BTHK.shape)
    inputs |= {"a": -log_decay_BTHK.exp() * read_BTHK, "b": k_BTHK if erase_BTHK is None else erase_BTHK}
    inputs |= {"gk": log_decay_BTHK}
    return _run("fla.ops.generalized_delta_rule", "chunk_dplr_delta_rule", inputs, initial_BHKV, segment_ids)


def gated_delta(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay_BTH: Tensor,
    initial_BHKV: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S_t = (I - beta_t k_t k_t^T) exp(log_decay_t) S_{t-1} + beta_t k_t v_t^T, o_t = S_t^T q_t.

    The state has keys before values, here as everywhere. k is used as it is: normalise before.
    """
    inputs = {"q": q_BTHK, "k": k_BTHK, "v": v_BTHV, "g": log_decay_BTH, "beta": beta_BTH}
    return _run("fla.ops.gated_delta_rule", "chunk_gated_delta_rule", inputs, initial_BHKV, segment_ids)


@torch._disable_dynamo  # torch.compiler.disable, but it loads the compiler on the first call, not here
def _run(
    module: str,
    name: str,
    inputs: dict[str, Tensor],
    initial_BHKV: Tensor | None,
    segment_ids: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Call a kernel of the package, on the batch as it is or, with segments, on one flat row of N sequences."""
    v_BTHV = inputs["v"]
    batch, time = v_BTHV.shape[:2]
    require(v_BTHV.device)
    if v_BTHV.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise InputError(f"linear = 'fla': does not run {v_BTHV.dtype} (allowed: float32, bfloat16, float16)")
    if transformed():
        raise InputError(
            "linear = 'fla': its kernels take no transforms of torch.func nor forward-mode derivatives "
            "(allowed here: torch)"
        )
    kernel = getattr(importlib.import_module(module), name)
    # The kernels multiply q, k and v as they come, so these must have one dtype; decays and beta stay as they are.
    inputs = inputs | {part: inputs[part].to(v_BTHV.dtype) for part in ("q", "k", "a", "b") if part in inputs}
    options = {"scale": 1.0, "output_final_state": True}
    initial = None if initial_BHKV is None else initial_BHKV.float()
    if segment_ids is None:
        return kernel(**inputs, initial_state=initial, **options)
    boundaries_N, first_B, last_B = _sequences(segment_ids)
    flat = {part: tensor.reshape(1, batch * time, *tensor.shape[2:]) for part, tensor in inputs.items()}
    if initial is not None:
        initial = initial.new_zeros(len(boundaries_N) - 1, *initial.shape[1:]).index_copy(0, first_B, initial)
    o, final_NHKV = kernel(**flat, initial_state=initial, cu_seqlens=boundaries_N, **options)
    return o.reshape(v_BTHV.shape), final_NHKV[last_B]


def _sequences(segment_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the N sequences of a batch begin once its rows are laid end to end, and each row's first and last one.

    Returns N + 1 boundaries, the last one B T, and two indices (B,) into the N sequences; all int64.
    """
    starts = begins(segment_ids)
    starts[:, 0] = True
    boundaries = torch.cat([starts.flatten().nonzero()[:, 0], torch.tensor([starts.numel()], device=starts.device)])
    last = starts.sum(1).cumsum(0) - 1
    return boundaries, last + 1 - starts.sum(1), last
