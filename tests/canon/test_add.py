"""`add_canon` on plain modules: a GPT as nanoGPT has it, a table of one's own, and what is refused."""

import copy
import pickle
import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.canon import Canon, Table, add_canon, canon, remove_canon

WIDTH, HEADS = 16, 2


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, kv_cache: Any = None) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.c_attn(x).split(WIDTH, dim=2))
        y: Tensor = self.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return y


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.c_proj(F.gelu(self.c_fc(x)))
        return y


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2, self.attn, self.mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), Attention(), MLP()

    def forward(self, x: Tensor, kv_cache: Any = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), kv_cache=kv_cache)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        blocks = nn.ModuleList(Block() for _ in range(2))
        self.transformer = nn.ModuleDict({"wte": nn.Embedding(9, WIDTH), "h": blocks, "ln_f": nn.LayerNorm(WIDTH)})
        self.lm_head = nn.Linear(WIDTH, 9, bias=False)

    def forward(self, ids: Tensor, kv_cache: Any = None) -> Tensor:
        x = self.transformer["wte"](ids)
        for block in self.transformer["h"]:
            x = block(x, kv_cache)
        y: Tensor = self.lm_head(self.transformer["ln_f"](x))
        return y


IDS = torch.tensor([[3, 1, 4, 1, 5, 8, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]])


def written_out(model: GPT, points: str) -> Tensor:
    """What the points mean, by hand."""

    def mix(x: Tensor, block: Any, name: str) -> Tensor:
        return canon(x, getattr(block.canon, name).weight) if name in points else x

    def linear(module: Any, x: Tensor) -> Tensor:
        return F.linear(x, module.weight, module.bias)

    x = model.transformer["wte"](IDS)
    for block in model.transformer["h"]:  # type: ignore[union-attr]
        qkv = mix(linear(block.attn.c_attn, mix(block.ln_1(x), block, "A")), block, "B")
        q, k, v = qkv.split(WIDTH, dim=2)
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (q, mix(k, block, "K"), mix(v, block, "V"))
        )
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + mix(linear(block.attn.c_proj, h), block, "O")
        h = mix(linear(block.mlp.c_fc, mix(block.ln_2(x), block, "C")), block, "D")
        x = x + mix(linear(block.mlp.c_proj, F.gelu(h)), block, "M")
    y: Tensor = model.lm_head(model.transformer["ln_f"](x))
    return y


@pytest.mark.parametrize("points", ["A", "B", "C", "D", "K", "V", "O", "M", "ABCD", "KVOM"])
def test_each_point_is_where_it_says(points: str) -> None:
    model = add_canon(GPT(), points)
    assert isinstance(model, GPT)
    torch.testing.assert_close(model(IDS), written_out(model, points))
    assert not torch.allclose(model(IDS), GPT()(IDS))


@pytest.mark.parametrize(
    "options", [{}, {"activation": True}, {"residual": False}, {"kernel": 8}, {"dynamic": True, "gate": True}]
)
def test_identity_changes_no_bit_and_removal_restores(options: dict[str, Any]) -> None:
    model = GPT()
    keys, before = list(model.state_dict()), model(IDS)
    add_canon(model, "ABCDOM", init="identity", **options)
    assert torch.equal(model(IDS), before)
    model(IDS).square().sum().backward()
    assert all(m.weight.grad is not None and m.weight.grad.any() for m in model.modules() if isinstance(m, Canon))
    assert remove_canon(model) is model and list(model.state_dict()) == keys
    assert torch.equal(model(IDS), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_taps_are_drawn_as_those_of_a_layer_alone() -> None:
    model = add_canon(GPT(), "ACDKV", kernel=3, scale=True, frozen=True)
    assert isinstance(model, GPT)
    layers = [m for m in model.modules() if isinstance(m, Canon)]
    assert len(layers) == 10 and all(m.scale and m.frozen and m.kernel == 3 for m in layers)
    assert all(0 < m.weight.abs().max() <= 3**-0.5 and not m.weight.requires_grad for m in layers)


def test_a_config_of_ones_own_is_left_alone() -> None:
    for config in ({"width": 16}, MappingProxyType({}), object()):
        model = GPT()
        model.config = config  # type: ignore[assignment]
        remove_canon(add_canon(model, "A"))
        assert model.config is config


def test_some_layers_only_and_weights_in_the_models_dtype() -> None:
    model = add_canon(GPT().bfloat16(), "AD", layers=[1])
    names = [name for name, _ in model.named_parameters() if ".canon." in name]
    assert names == ["transformer.h.1.canon.A.weight", "transformer.h.1.canon.D.weight"]
    assert model.get_parameter(names[0]).dtype == torch.bfloat16 and model(IDS).dtype == torch.bfloat16


def test_copied_and_pickled_it_goes_by_its_own_weights() -> None:
    model = add_canon(GPT(), "ABCDOM")
    expected = model(IDS)
    module = sys.modules[GPT.__module__] = sys.modules.get(GPT.__module__, sys.modules[__name__])
    assert module.GPT is GPT
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(IDS), expected)
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                if ".canon." in name:
                    parameter.zero_()
        assert torch.equal(other(IDS), GPT()(IDS)) and torch.equal(model(IDS), expected)
        remove_canon(other)
        assert not any(isinstance(m, Canon) for m in other.modules())
    assert torch.equal(model(IDS), expected)


def test_state_goes_through_a_state_dict() -> None:
    model, other = add_canon(GPT(), "ABCD"), add_canon(GPT(), "ABCD", init="identity")
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(IDS), model(IDS))


class Named(nn.Module):
    """The same model under other names, with a mask that goes no further."""

    def __init__(self) -> None:
        super().__init__()
        self.body = GPT()

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        y: Tensor = self.body(ids)
        return y


def test_a_table_of_ones_own() -> None:
    table = Table(
        "body.transformer.h",
        "attn",
        qkv=("attn.c_attn",),
        out="attn.c_proj",
        inner=("mlp.c_fc",),
        down="mlp.c_proj",
    )
    model = add_canon(Named(), "ABCDOM", table=table)
    assert isinstance(model, Named)
    torch.testing.assert_close(model(IDS), written_out(model.body, "ABCDOM"))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown model": (lambda: add_canon(nn.Linear(2, 2), "A"), "Linear holds none of them of the families"),
    "two models": (lambda: add_canon(nn.ModuleList([GPT(), GPT()]), "A"), "holds 0 and 1"),
    "unknown point": (lambda: add_canon(GPT(), "Ab"), "unknown point 'b'; did you mean 'B'?"),
    "no point": (lambda: add_canon(GPT(), ""), "name at least one"),
    "twice a point": (lambda: add_canon(GPT(), "AA"), "named twice"),
    "B and V": (lambda: add_canon(GPT(), "BV"), "leave K and V out"),
    "no text": (lambda: add_canon(GPT(), {"A"}), "points = {'A'}: must be text"),  # type: ignore[arg-type]
    "no integer": (lambda: add_canon(GPT(), "A", kernel=4.0), "kernel = 4.0"),  # type: ignore[arg-type]
    "no model": (lambda: add_canon("gpt2", "A"), "a str is no model"),  # type: ignore[arg-type]
    "no list of layers": (lambda: add_canon(GPT(), "A", layers=1), "layers = 1: must be integers"),  # type: ignore[arg-type]
    "no layers": (lambda: add_canon(GPT(), "A", layers=[]), r"layers = \[\]: must be integers, one or more"),
    "no number of a layer": (lambda: add_canon(GPT(), "A", layers=[0.0]), r"layers = \[0.0\]"),  # type: ignore[list-item]
    "kernel": (lambda: add_canon(GPT(), "A", kernel=9), "kernel = 9"),
    "init": (lambda: add_canon(GPT(), "A", init="zero"), "must be one of random, identity"),
    "scaled identity": (lambda: add_canon(GPT(), "A", init="identity", scale=True), "with scale"),
    "never the identity": (
        lambda: add_canon(GPT(), "A", init="identity", activation=True, residual=False),
        "never the identity",
    ),
    "no such layer": (lambda: add_canon(GPT(), "A", layers=[0, 2]), "transformer.h has no layer 2"),
    "no such module": (
        lambda: add_canon(GPT(), "A", table=Table("transformer.h")),
        "transformer.h.0 has no module 'self_attn' .Block has no 'self_attn'",
    ),
    "no list": (lambda: add_canon(GPT(), "A", table=Table("lm_head")), "'lm_head' of GPT is a Linear"),
    "experts": (
        lambda: add_canon(GPT(), "D", table=Table("transformer.h", "attn", qkv=("attn.c_attn",), inner=())),
        "transformer.h.0: the table names no projection for point D",
    ),
    "not linear": (
        lambda: add_canon(GPT(), "B", table=Table("transformer.h", "attn", qkv=("mlp",))),
        "'mlp' is a MLP, not a linear layer",
    ),
    "again": (lambda: add_canon(add_canon(GPT(), "A"), "C"), "has Canon layers already"),
    "nothing to remove": (lambda: remove_canon(GPT()), "has no Canon layers"),
    "a cache": (
        lambda: add_canon(GPT(), "A")(IDS, kv_cache={"k": None}),
        "Canon in transformer.h.0: a dict cannot hold the state",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    run, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        run()


def test_what_is_refused_is_left_as_it_was() -> None:
    model = GPT()
    keys = list(model.state_dict())
    del model.transformer["h"][1].mlp.c_fc  # type: ignore[union-attr, index]
    with pytest.raises(ValueError, match=r"transformer.h.1 has no module 'mlp.c_fc'"):
        add_canon(model, "ABCD")
    assert [key for key in keys if "h.1.mlp.c_fc" not in key] == list(model.state_dict())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_mask_that_does_not_reach_the_layers_is_refused() -> None:
    class Masked(GPT):
        def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
            return super().forward(ids)

    table = Table("transformer.h", "attn", qkv=("attn.c_attn",))
    with pytest.raises(ValueError, match=r"Masked.forward takes an attention_mask, but no \*\*kwargs"):
        add_canon(Masked(), "A", table=table)
