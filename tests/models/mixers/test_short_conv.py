import pytest
import torch
import torch.nn.functional as F

from canonlab.models.mixers.short_conv import ShortConv


@pytest.mark.parametrize("bias", [False, True])
def test_it_is_a_depthwise_conv1d_with_silu(bias):
    torch.manual_seed(0)
    layer, x = ShortConv(6, bias=bias), torch.randn(2, 9, 6)
    oldest_first = layer.conv.weight.flip(0).T[:, None]
    conv = F.conv1d(F.pad(x.mT, (3, 0)), oldest_first, layer.bias, groups=6)
    torch.testing.assert_close(layer(x), F.silu(conv).mT)


def test_steps_with_a_state_give_what_the_whole_gives():
    torch.manual_seed(0)
    layer, x = ShortConv(6, bias=True), torch.randn(2, 9, 6)
    segments = torch.tensor([[0] * 4 + [1] * 5, [-1] * 2 + [0] * 7])
    state = layer.init_state(2, x.dtype, x.device)
    parts = [layer(x[:, t : t + 1], segments[:, t : t + 1], state) for t in range(9)]
    torch.testing.assert_close(torch.cat(parts, 1), layer(x, segments))


def test_the_taps_are_initialised_as_asked():
    torch.manual_seed(0)
    assert ShortConv(4096, std=0.02).conv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert ShortConv(4096).conv.weight.abs().max().item() <= 0.5
