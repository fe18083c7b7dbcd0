"""The gated delta rule against the independent recurrence of flash-linear-attention.

Needs the packages fla-core, einops and triton, which the development environment doesn't have: `make test-references`.
"""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from canonlab.models.mixers.linear import chunked, recurrent

naive = pytest.importorskip(
    "fla.ops.gated_delta_rule.naive", reason="needs fla-core, einops and triton", exc_type=ImportError
)

EXACT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.mark.parametrize("form", [recurrent, chunked])
@pytest.mark.parametrize("time", [1, 17, 64, 130, 200])
def test_outputs_states_and_gradients_are_those_of_fla(time, form, monkeypatch):
    # The reference computes in what it finds as torch.float32; here it finds double precision.
    double = SimpleNamespace(float32=torch.float64, zeros=torch.zeros, einsum=torch.einsum)
    monkeypatch.setattr(naive, "torch", double)
    torch.manual_seed(0)
    shape, keys, values = (2, time, 3), 8, 6
    q, k = (F.normalize(torch.randn(*shape, keys, dtype=torch.float64), dim=-1) for _ in range(2))
    v, beta = torch.randn(*shape, values).double(), torch.rand(shape).double()
    log_decay = -torch.randn(shape).exp().double()
    arguments = [x.requires_grad_() for x in (q, k, v, beta, log_decay, torch.randn(2, 3, keys, values).double())]
    scale = keys**-0.5
    results = [
        naive.naive_recurrent_gated_delta_rule(*arguments[:5], scale, arguments[5], output_final_state=True),
        form(scale * q, beta[..., None] * k, v, log_decay, read_BTHK=k, initial_BHKV=arguments[5]),
    ]
    with_gradients = []
    for o, final in results:
        torch.manual_seed(1)
        loss = (o * torch.randn(o.shape).double()).sum() + (final * torch.randn(final.shape).double()).sum()
        with_gradients.append([o, final, *torch.autograd.grad(loss, arguments)])
    for wanted, found in zip(*with_gradients, strict=True):
        torch.testing.assert_close(found, wanted, **EXACT)
