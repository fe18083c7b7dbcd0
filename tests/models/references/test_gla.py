"""Gated linear attention beside the naive recurrence that flash-linear-attention ships, which runs on any CPU.

Needs the packages fla-core, einops and triton, which the development environment doesn't have: `make test-references`.
"""

import pytest
import torch
import torch.nn.functional as F

from canonlab.models.mixers.gla import DECAY_ROOT
from canonlab.models.mixers.linear import chunked, recurrent

naive = pytest.importorskip("fla.ops.gla.naive", reason="needs fla-core, einops and triton", exc_type=ImportError)


@pytest.mark.parametrize("time", [1, 17, 64, 130])
@pytest.mark.parametrize("form", [recurrent, chunked])
def test_outputs_states_and_gradients_are_those_of_the_naive_recurrence(form, time, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # it would compute in single precision
    generator = torch.Generator().manual_seed(time)
    shapes = [(2, time, 3, 8), (2, time, 3, 8), (2, time, 3, 16), (2, time, 3, 8), (2, 3, 8, 16)]
    q, k, v, pre, initial = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    log_decay = F.logsigmoid(20 * pre) / DECAY_ROOT
    initial = initial.to(torch.float32).double()  # which it keeps in single precision as long as nothing is added
    inputs = [x.requires_grad_() for x in (q, k, v, log_decay)]
    results = []
    scaled = (8**-0.5 * q, k, v, log_decay)
    for o, state in (form(*scaled, initial_BHKV=initial), naive.naive_recurrent_gla(*inputs, initial, True)):
        gradients = torch.autograd.grad(o.square().sum() + state.square().sum(), inputs)
        results.append((o, state, *gradients))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
