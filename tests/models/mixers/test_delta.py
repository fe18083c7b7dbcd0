"""KDA, Gated DeltaNet-2 and DeltaProduct: each layer against its equations token by token, and against one another."""

import pytest
import torch
import torch.nn.functional as F

from canonlab.canon import Canon
from canonlab.errors import InputError
from canonlab.models.canon_points import CanonConfig
from canonlab.models.mixers.deltaproduct import DeltaProduct
from canonlab.models.mixers.gdn import GatedDeltaNet
from canonlab.models.mixers.gdn2 import GatedDeltaNet2
from canonlab.models.mixers.kda import KimiDeltaAttention

EXACT = {"rtol": 1e-9, "atol": 1e-9}
WIDTH, HEADS = 16, 2
KINDS = {
    "kda": (KimiDeltaAttention, {}),
    "kda, Canon-B": (KimiDeltaAttention, {"conv1d": False, "points": "B"}),
    "kda, none": (KimiDeltaAttention, {"conv1d": False, "key_share": 0.5, "rank": 3}),
    "gdn2": (GatedDeltaNet2, {}),
    "gdn2, Canon-B": (GatedDeltaNet2, {"conv1d": False, "points": "B", "value_share": 2.0}),
    "deltaproduct": (DeltaProduct, {}),
    "deltaproduct, three": (DeltaProduct, {"conv1d": False, "points": "B", "writes": 3}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def build(cls, points="", **config):
    """A layer in float64 with weights of trained size."""
    torch.manual_seed(0)
    mixer = cls(cls.Config(WIDTH, HEADS, **config), lambda w: CanonConfig(points).build("B", w)).double()
    for name, parameter in mixer.named_parameters():
        if parameter.ndim == 2 and "canon" not in name:
            parameter.data.mul_(0.5 / parameter.data.std())
    mixer.norm.weight.data.uniform_(0.5, 2)
    return mixer


def convolve(x_TN, taps):
    past = F.pad(x_TN, (0, 0, 3, 0))
    return sum(taps[lag] * past[3 - lag : len(past) - lag] for lag in range(4))


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def by_the_equations(mixer, x_TD):
    """One sequence, token by token and head by head."""
    qkv = x_TD @ mixer.qkv.weight.T
    if isinstance(mixer.canon, Canon):
        qkv = qkv + convolve(qkv, mixer.canon.weight)
    if mixer.conv is not None:
        qkv = convolve(qkv, mixer.conv.conv.weight)
    q, k, v = (qkv * sigmoid(qkv)).split(mixer.widths, -1)
    keys, values = mixer.head_widths
    q, k, v = (
        part.unflatten(-1, (-1, HEADS, n)) for part, n in ((q, keys), (k, keys), (v, values))
    )  # (T, writes, H, .)
    q, k = (part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt() for part in (q, k))
    steps = mixer.decay(x_TD) + mixer.dt_bias
    steps = steps.unflatten(-1, (HEADS, -1))
    decay_THK = torch.exp(-mixer.A_log.exp()[:, None] * torch.log1p(torch.exp(steps)))
    gate = mixer.gate(x_TD)
    gate = gate * sigmoid(gate) if isinstance(mixer, DeltaProduct) else sigmoid(gate)
    outputs, memory = [], [torch.zeros(keys, values, dtype=x_TD.dtype)] * HEADS
    for t in range(len(x_TD)):
        heads = []
        for h in range(HEADS):
            S = decay_THK[t, h][:, None] * memory[h]
            for i in range(k.shape[1]):
                key, value = k[t, i, h], v[t, i, h]
                if isinstance(mixer, DeltaProduct):
                    beta = 2 * sigmoid(x_TD[t] @ mixer.beta.weight.T).view(-1, HEADS)[i, h]
                    S = (torch.eye(keys, dtype=S.dtype) - beta * torch.outer(key, key)) @ S + beta * torch.outer(
                        key, value
                    )
                elif isinstance(mixer, GatedDeltaNet2):
                    gates = sigmoid(x_TD[t] @ mixer.writing.weight.T)
                    b, w = gates[: HEADS * keys].view(HEADS, -1)[h], gates[HEADS * keys :].view(HEADS, -1)[h]
                    S = (torch.eye(keys, dtype=S.dtype) - torch.outer(key, b * key)) @ S + torch.outer(key, w * value)
                else:
                    beta = sigmoid(x_TD[t] @ mixer.writing.weight.T)[h]
                    S = (torch.eye(keys, dtype=S.dtype) - beta * torch.outer(key, key)) @ S + beta * torch.outer(
                        key, value
                    )
            memory = [*memory[:h], S, *memory[h + 1 :]]
            o = S.T @ q[t, 0, h] / keys**0.5
            heads.append(o / torch.sqrt(o.square().mean() + mixer.norm.eps) * mixer.norm.weight)
        outputs.append(mixer.out.weight @ (torch.cat(heads) * gate[t]))
    return torch.stack(outputs)


@pytest.mark.parametrize("time", [1, 19, 70])
@every_kind
def test_the_layer_is_the_equations_with_their_gradients(kind, time):
    cls, config = KINDS[kind]
    mixer = build(cls, **config)
    x = torch.randn(2, time, WIDTH, dtype=torch.float64, requires_grad=True)
    weights, leaves = torch.randn_like(x), [x, *mixer.parameters()]
    results = []
    for y in (mixer(x, None, None)[0], torch.stack([by_the_equations(mixer, row) for row in x])):
        results.append([y, *torch.autograd.grad((y * weights).sum(), leaves)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, **EXACT)


@every_kind
def test_segments_pieces_and_steps_are_the_whole(kind):
    cls, config = KINDS[kind]
    mixer, pieces = build(cls, **config).requires_grad_(False), [1, 40, 1, 2, 30, 16]
    x = torch.randn(2, 90, WIDTH, dtype=torch.float64)
    ids = torch.tensor([[-1] * 5 + [0] * 70 + [1] * 15, [3] * 41 + [4] * 1 + [5] * 48])
    whole, state = mixer(x, ids, None)[0], mixer.init_state(2, 90, x.dtype, x.device)
    parts = [mixer(*cut, state)[0] for cut in zip(x.split(pieces, 1), ids.split(pieces, 1), strict=True)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
    for row, lengths in enumerate(([5, 70, 15], [41, 1, 48])):
        alone = [mixer(part[None], None, None)[0] for part in x[row].split(lengths)]
        torch.testing.assert_close(torch.cat(alone, 1)[0], whole[row], **EXACT)


@pytest.mark.parametrize("gates", [-1e3, 1e3])
@pytest.mark.parametrize("decays", [-1e3, 1e3])
@every_kind
def test_extreme_gates_are_as_the_equations_have_them(kind, decays, gates):
    cls, config = KINDS[kind]
    mixer = build(cls, **config).requires_grad_(False)
    mixer.dt_bias.fill_(decays)
    x = torch.randn(1, 70, WIDTH, dtype=torch.float64)
    gating = mixer.beta if isinstance(mixer, DeltaProduct) else mixer.writing
    gating.weight.copy_(gates * torch.ones_like(gating.weight) / WIDTH)
    x[..., -1] = WIDTH - x[..., :-1].sum(-1)  # so that every gate's argument is that number
    torch.testing.assert_close(mixer(x, None, None)[0][0], by_the_equations(mixer, x[0]), **EXACT)


def test_with_one_gate_for_all_gated_deltanet_2_is_kda():
    kda, gdn2 = build(KimiDeltaAttention), build(GatedDeltaNet2)
    weights = {
        **kda.state_dict(),
        "writing.weight": kda.writing.weight.repeat_interleave(WIDTH // HEADS, 0).repeat(2, 1),
    }
    gdn2.load_state_dict(weights)
    x = torch.randn(2, 70, WIDTH, dtype=torch.float64)
    torch.testing.assert_close(gdn2(x, None, None)[0], kda(x, None, None)[0], **EXACT)


def test_with_the_same_decay_in_all_channels_kda_is_gated_deltanet():
    kda = build(KimiDeltaAttention, rank=WIDTH, norm_eps=1e-6)
    gdn = build(GatedDeltaNet, key_share=1.0, value_share=1.0)
    rates = torch.randn(HEADS, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        kda.decay[0].weight.copy_(torch.eye(WIDTH))
        kda.decay[1].weight.copy_(rates.repeat_interleave(WIDTH // HEADS, 0))
        kda.dt_bias.copy_(gdn.dt_bias.repeat_interleave(WIDTH // HEADS))
        kda.gate[0].weight.zero_()  # a gate of a half against none
        gdn.gate.weight.zero_()
    shared = {name: weight for name, weight in gdn.state_dict().items() if name in ("qkv.weight", "conv.conv.weight")}
    kda.load_state_dict(
        {**shared, "A_log": gdn.A_log, "writing.weight": gdn.beta_and_decay.weight[:HEADS]}, strict=False
    )
    with torch.no_grad():
        gdn.beta_and_decay.weight[HEADS:] = rates
    x, seen = torch.randn(2, 70, WIDTH, dtype=torch.float64), []
    for mixer in (kda, gdn):
        mixer.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        mixer(x, None, None)
    torch.testing.assert_close(seen[0], seen[1], **EXACT)


def test_two_writes_can_reflect_and_one_that_overwrites_can_not():
    """Along a key of norm 1, a share of 2 takes s to -s; that of DeltaNet is at most 1, which leaves nothing."""
    mixer = build(DeltaProduct, conv1d=False, writes=1)
    seen = []
    mixer._recur = lambda q, k, v, decay, read, *rest: seen.append((k, read)) or v  # type: ignore[method-assign]
    mixer(torch.randn(1, 400, WIDTH, dtype=torch.float64), None, None)
    ((written, read),) = seen
    share = (written * read).sum(-1) / read.square().sum(-1)
    assert 1.5 < share.max() <= 2 and share.min() >= 0


class Halved(torch.nn.Module):
    """Such that twice the sigmoid of it is the sigmoid of x W^T."""

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, x):
        return torch.logit(torch.sigmoid(F.linear(x, self.weight)) / 2)


def test_with_one_write_of_a_share_up_to_one_deltaproduct_is_gated_deltanet():
    gdn, product = build(GatedDeltaNet, key_share=1.0, value_share=1.0), build(DeltaProduct, writes=1, key_share=1.0)
    product.norm.eps = gdn.norm.eps
    weights = gdn.state_dict()
    beta, weights["decay.weight"] = weights.pop("beta_and_decay.weight").chunk(2)
    product.load_state_dict({**weights, "beta.weight": beta})
    product.beta = Halved(beta)
    x = torch.randn(2, 70, WIDTH, dtype=torch.float64)
    torch.testing.assert_close(product(x, None, None)[0], gdn(x, None, None)[0], **EXACT)


@pytest.mark.parametrize("cls", [KimiDeltaAttention, GatedDeltaNet2, DeltaProduct])
def test_what_does_not_fit_is_said(cls):
    with pytest.raises(
        InputError, match=r"heads = 3: must divide the key width \d+ and the value width 16 of width 16"
    ):
        cls.Config(16, 3)
