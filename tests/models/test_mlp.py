"""Every MLP against its formula, number by number."""

import math

import pytest
import torch

from canonlab.errors import InputError
from canonlab.models.canon_points import CanonConfig
from canonlab.models.mlp import MLP, MLPConfig

WIDTH, INNER = 3, 5
PLAIN = {
    "silu": lambda v: v / (1 + math.exp(-v)),
    "gelu": lambda v: 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    "relu2": lambda v: max(v, 0.0) ** 2,
}


def build(canon: str = "", **settings: object) -> MLP:
    torch.manual_seed(0)
    config = MLPConfig(**{"kind": "gated", "intermediate": INNER, "std": 1.0, **settings})  # type: ignore[arg-type]
    model = MLP(config, WIDTH, CanonConfig(canon)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model.requires_grad_(False)


def product(weight: list[list[float]], vector: list[float], bias: list[float] | None) -> list[float]:
    rows = [sum(w * v for w, v in zip(row, vector, strict=True)) for row in weight]
    return rows if bias is None else [row + b for row, b in zip(rows, bias, strict=True)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", PLAIN)
@pytest.mark.parametrize("kind", ["gated", "standard"])
@pytest.mark.parametrize("canon", ["", "D"])
def test_it_is_its_formula(kind: str, activation: str, bias: bool, canon: str) -> None:
    model, x, act = (
        build(canon, kind=kind, activation=activation, bias=bias),
        torch.randn(1, 6, WIDTH).double(),
        PLAIN[activation],
    )
    up, down = ((layer.weight.tolist(), layer.bias.tolist() if bias else None) for layer in (model.up, model.down))
    hidden = [product(up[0], x[0, t].tolist(), up[1]) for t in range(6)]
    if canon:
        taps = model.canon.weight.tolist()
        seen = [[0.0] * len(hidden[0])] * 3 + hidden
        hidden = [
            [h + sum(taps[k][i] * seen[3 + t - k][i] for k in range(4)) for i, h in enumerate(hidden[t])]
            for t in range(6)
        ]
    for t, h in enumerate(hidden):
        inner = (
            [act(g) * u for g, u in zip(h[:INNER], h[INNER:], strict=True)] if kind == "gated" else list(map(act, h))
        )
        assert model(x, None, None)[0][0, t].tolist() == pytest.approx(product(down[0], inner, down[1]), rel=1e-12)
    assert model(x, None, None)[1] is None


def test_point_d_is_as_wide_as_the_projections() -> None:
    assert build("D", kind="gated").canon.width == 2 * INNER
    assert build("D", kind="standard").canon.width == INNER


def test_initial_spread() -> None:
    torch.manual_seed(0)
    for std, expected in ((0.02, 0.02), (None, (3 * 400) ** -0.5)):
        model = MLP(MLPConfig("gated", 400, bias=True, std=std), 400, CanonConfig())
        for layer in (model.up, model.down):
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)
            assert bool(layer.bias.any()) == (std is None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "gate"}, "did you mean 'gated'"),
        ({"activation": "gelo"}, "did you mean 'gelu'"),
        ({"intermediate": 0}, "inner layer = 0: must be an integer of at least 1"),
    ],
)
def test_bad_words(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MLPConfig(**{"kind": "gated", "intermediate": 4, **settings})  # type: ignore[arg-type]
