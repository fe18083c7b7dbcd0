"""The recurrences of this year's mixers against the independent ones of flash-linear-attention.

Needs the packages fla-core, einops and triton, which the development environment doesn't have: `make test-references`.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.models.mixers.linear import chunked, recurrent

WRITES, SCALE = 2, 8**-0.5


class Double:
    """torch, in which single precision is double precision."""

    def __getattr__(self, name: str) -> Any:
        return torch.float64 if name in ("float", "float32") else getattr(torch, name)


def leaves(time: int) -> SimpleNamespace:
    """Queries, keys, gates and the state before: everything that some recurrence takes, in double precision."""
    torch.manual_seed(time)
    shape, keys, values = (2, time, 3), 8, 6
    found = {
        "q": torch.randn(*shape, keys),
        "k": F.normalize(torch.randn(*shape, keys), dim=-1),
        "v": torch.randn(*shape, values),
        "a": F.normalize(torch.randn(*shape, keys), dim=-1),
        "decay": -torch.randn(*shape, keys).exp(),
        "head_decay": -torch.randn(shape).exp(),
        "beta": torch.rand(shape),
        "b": torch.rand(*shape, keys),
        "w": torch.rand(*shape, values),
        "state": torch.randn(2, 3, keys, values),
    }
    return SimpleNamespace(**{name: tensor.double().requires_grad_() for name, tensor in found.items()})


def kda(form: Any, x: SimpleNamespace) -> tuple[Tensor, Tensor]:
    return form(SCALE * x.q, x.beta[..., None] * x.k, x.v, x.decay, read_BTHK=x.k, initial_BHKV=x.state)


def fla_kda(naive: Any, x: SimpleNamespace) -> tuple[Tensor, Tensor]:
    return naive.naive_recurrent_kda(x.q, x.k, x.v, x.decay, x.beta, SCALE, x.state, True)


def gdn2(form: Any, x: SimpleNamespace) -> tuple[Tensor, Tensor]:
    return form(SCALE * x.q, x.k, x.w * x.v, x.decay, read_BTHK=x.b * x.k, initial_BHKV=x.state)


def fla_gdn2(naive: Any, x: SimpleNamespace) -> tuple[Tensor, Tensor]:
    return naive.naive_recurrent_gdn2(x.q, x.k, x.v, x.decay, x.b, x.w, SCALE, x.state, True)


def deltaproduct(form: Any, x: SimpleNamespace) -> tuple[Tensor, Tensor]:
    """The first of a token's positions decays, of the last one the output is used."""
    first = torch.arange(x.q.shape[1]) % WRITES == 0
    decay = torch.where(first[:, None], x.head_decay, 0)
    more = {"read_BTHK": x.k, "initial_BHKV": x.state}
    o, state = form(SCALE * x.q, 2 * x.beta[..., None] * x.k, x.v, decay, **more)
    return o[:, WRITES - 1 :: WRITES], state


def fla_deltaproduct(naive: Any, x: SimpleNamespace) -> tuple[Tensor, Tensor]:
    q, decay = x.q[:, WRITES - 1 :: WRITES], x.head_decay[:, ::WRITES]
    more = {"initial_state": x.state, "output_final_state": True, "num_householder": WRITES}
    return naive.naive_recurrent_gated_delta_product(q, x.k, x.v, decay, 2 * x.beta, SCALE, **more)


def rwkv7(form: Any, x: SimpleNamespace) -> tuple[Tensor, Tensor]:
    """The other one reads before the decay, and adds what it has read."""
    more = {"read_BTHK": -x.a * (-x.decay).exp(), "erase_BTHK": x.b, "initial_BHKV": x.state}
    return form(SCALE * x.q, x.k, x.v, x.decay, **more)


def fla_rwkv7(naive: Any, x: SimpleNamespace) -> tuple[Tensor, Tensor]:
    parts = (part.transpose(1, 2) for part in (x.q, x.k, x.v, x.a, x.b, x.decay))
    o, state = naive.dplr_recurrence(*parts, x.state)
    return o.transpose(1, 2), state


RECURRENCES = {
    "kda": (kda, fla_kda),
    "gdn2": (gdn2, fla_gdn2),
    "gated_delta_product": (deltaproduct, fla_deltaproduct),
    "generalized_delta_rule.dplr": (rwkv7, fla_rwkv7),
}


@pytest.mark.parametrize("form", [recurrent, chunked])
@pytest.mark.parametrize("time", [2, 18, 64, 130, 200])
@pytest.mark.parametrize("name", RECURRENCES)
def test_outputs_states_and_gradients_are_those_of_fla(
    name: str, time: int, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = {"reason": "needs fla-core, einops and triton", "exc_type": ImportError}
    naive = pytest.importorskip(f"fla.ops.{name}.naive", **needed)
    monkeypatch.setattr(naive, "torch", Double())
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    ours, theirs = RECURRENCES[name]
    x = leaves(time)
    results = []
    for o, state in (theirs(naive, x), ours(form, x)):
        torch.manual_seed(1)
        loss = sum((y * torch.randn(y.shape, dtype=y.dtype)).sum() for y in (o, state))
        results.append([o, state, *torch.autograd.grad(loss, [*vars(x).values()], materialize_grads=True)])
    for wanted, found in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
