"""Norms, projections and short convolutions against PyTorch's own and by hand."""

import pytest
import torch
import torch.nn.functional as F

from canonlab.models.layers import NORMS, LayerNorm, RMSNorm, ShortConv, TokenShift, linear, time_step_bias


def test_the_norms_are_what_they_are_called() -> None:
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)).double()
    rms, layer = RMSNorm(8, 1e-6).double(), LayerNorm(8, 1e-6).double()
    for parameter in (rms.weight, layer.weight, layer.bias):
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * rms.weight)
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(layer(x), scaled * layer.weight + layer.bias)


@pytest.mark.parametrize("norm", NORMS.values())
def test_dtypes_of_the_norms(norm: type) -> None:
    layer, x = norm(64, 1e-6), torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    exact = layer(x)
    half = layer(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), layer(x.bfloat16().float()), rtol=2**-8, atol=1e-6)  # one rounding
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), exact.bfloat16()), "statistics in single precision, then one rounding"


def test_initial_projections() -> None:
    torch.manual_seed(0)
    plain, biased, default = linear(300, 400, 0.02), linear(300, 400, 0.5, bias=True), linear(300, 400, None, bias=True)
    assert plain.bias is None and plain.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not biased.bias.any() and biased.weight.std().item() == pytest.approx(0.5, rel=0.02)
    assert default.weight.abs().max().item() <= 300**-0.5 and default.bias.any()
    assert default.weight.std().item() == pytest.approx((3 * 300) ** -0.5, rel=0.02)


@pytest.mark.parametrize("bias", [False, True])
def test_a_short_convolution_is_a_depthwise_conv1d_with_silu(bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = ShortConv(6, bias=bias), torch.randn(2, 9, 6)
    oldest_first = layer.conv.weight.flip(0).T[:, None]
    conv = F.conv1d(F.pad(x.mT, (3, 0)), oldest_first, layer.bias, groups=6)
    torch.testing.assert_close(layer(x), F.silu(conv).mT)


def test_a_short_convolution_step_by_step() -> None:
    torch.manual_seed(0)
    layer, x = ShortConv(6, bias=True), torch.randn(2, 9, 6)
    segments = torch.tensor([[0] * 4 + [1] * 5, [-1] * 2 + [0] * 7])
    state = layer.init_state(2, x.dtype, x.device)
    parts = [layer(x[:, t : t + 1], segments[:, t : t + 1], state) for t in range(9)]
    torch.testing.assert_close(torch.cat(parts, 1), layer(x, segments))


def test_initial_taps() -> None:
    torch.manual_seed(0)
    assert ShortConv(4096, std=0.02).conv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert ShortConv(4096).conv.weight.abs().max().item() <= 0.5


def test_initial_time_steps_are_log_uniform() -> None:
    torch.manual_seed(0)
    steps = F.softplus(time_step_bias(100_000).double()).log10()
    assert -3.0001 < steps.min() < -2.999 and -1.001 < steps.max() < -0.9999
    assert steps.mean().item() == pytest.approx(-2, abs=0.01)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", [False, True])
def test_a_short_convolution_without_silu_or_with_its_input(activation: bool, residual: bool) -> None:
    torch.manual_seed(0)
    layer, x = ShortConv(6, bias=True, activation=activation, residual=residual), torch.randn(2, 9, 6)
    y = F.conv1d(F.pad(x.mT, (3, 0)), layer.conv.weight.flip(0).T[:, None], layer.bias, groups=6).mT
    y = F.silu(y) if activation else y
    torch.testing.assert_close(layer(x), x + y if residual else y)
    state = layer.init_state(2, x.dtype, x.device)
    parts = [layer(part, None, state) for part in x.split([1, 2, 6], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), layer(x))


def test_the_token_before_is_of_its_segment_and_of_earlier_calls() -> None:
    x, shift = torch.arange(1.0, 13).view(2, 6, 1), TokenShift()
    ids = torch.tensor([[0, 0, 1, 1, 1, 0], [-1, -1, 0, 0, 0, 0]])
    expected = torch.tensor([[0.0, 1, 0, 3, 4, 0], [0, 7, 0, 9, 10, 11]])[..., None]
    assert torch.equal(shift(x, ids, None), expected)
    assert torch.equal(shift(x, None, None)[0, :, 0], torch.arange(6.0))
    state = shift.init_state(2, 1, x.dtype, x.device)
    parts = [shift(*part, state) for part in zip(x.split([1, 3, 2], 1), ids.split([1, 3, 2], 1), strict=True)]
    assert torch.equal(torch.cat(parts, 1), expected)
