"""Where in other people's models the Canon points are: one row of module names per family."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from torch import nn

POINTS = "ABCDKVOM"
"""A: input of attention. B: queries, keys and values. C: input of the MLP. D: inside the MLP, before the non-linearity.
K, V: keys or values alone. O: output of attention. M: output of the MLP."""


@dataclass(frozen=True)
class Table:
    """The names of a model's modules.

    Attributes:
        layers: Path of the list of layers; the names below are paths within one layer.
        attention: The module whose first argument is the input of attention, after the norm where one comes before it.
        mlp: The same of the MLP.
        qkv: The projections to queries, keys and values, or the one that gives all three, one after another.
        head_width: For one projection that gives query, key and value of a head side by side: the attribute of the
            attention module that says how wide a head is.
        out: The projection after attention.
        inner: The projection, or projections, before the non-linearity of the MLP; none where it has experts.
        down: The projection after it, or the MLP itself.
    """

    layers: str
    attention: str = "self_attn"
    mlp: str = "mlp"
    qkv: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    head_width: str = ""
    out: str = "self_attn.o_proj"
    inner: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"


@dataclass(frozen=True)
class Site:
    """One Canon layer of a model's layer: on the input or the output of a module, all channels of it or a part.

    Channels are taken as `groups` rows of equal width, and `start` to `stop` of every row.
    """

    name: str
    path: str
    width: int
    on_input: bool = False
    groups: int = 1
    start: int = 0
    stop: int | None = None


LLAMA = Table("layers")
PHI3 = replace(LLAMA, qkv=("self_attn.qkv_proj",), inner=("mlp.gate_up_proj",))
GPT2 = Table(
    "h", "attn", "mlp", qkv=("attn.c_attn",), out="attn.c_proj", inner=("mlp.c_fc",), down="mlp.c_proj"
)  # fmt: skip
GPT_NEOX = Table(
    "layers",
    "attention",
    qkv=("attention.query_key_value",),
    head_width="head_size",
    out="attention.dense",
    inner=("mlp.dense_h_to_4h",),
    down="mlp.dense_4h_to_h",
)

FAMILIES = {
    **dict.fromkeys(("LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model", "Olmo2Model"), LLAMA),
    **dict.fromkeys(("GemmaModel", "Gemma2Model", "Gemma3TextModel"), LLAMA),
    "Phi3Model": PHI3,
    "GPT2Model": GPT2,
    "GPTNeoXModel": GPT_NEOX,
    "GPT": replace(GPT2, layers="transformer.h"),  # nanoGPT
}
"""By the name of the class that holds the layers."""


def require_points(points: str) -> str:
    """The letters in the order of `POINTS`, or ValueError."""
    if not isinstance(points, str):
        raise ValueError(f"points = {points!r}: must be text (letters of {POINTS})")
    for letter in points:
        if letter not in POINTS:
            close = get_close_matches(letter.upper(), POINTS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"points = {points!r}: unknown point {letter!r}{hint} (allowed: letters of {POINTS})")
        if points.count(letter) > 1:
            raise ValueError(f"points = {points!r}: point {letter!r} is named twice")
    if not points:
        raise ValueError(f"points = '': name at least one (letters of {POINTS})")
    if "B" in points and {"K", "V"} & set(points):
        raise ValueError(f"points = {points!r}: B is queries, keys and values; leave K and V out, or B")
    return "".join(sorted(points, key=POINTS.index))


def find_part(root: nn.Module, path: str, of: str) -> nn.Module:
    """The module at `path`, or ValueError that says which is missing where."""
    module = root
    for name in path.split("."):
        child = getattr(module, name, None)
        if not isinstance(child, nn.Module):
            raise ValueError(f"add_canon: {of} has no module {path!r} ({type(module).__name__} has no {name!r})")
        module = child
    return module


def find_sites(layer: nn.Module, points: str, table: Table, of: str) -> list[Site]:
    """The Canon layers of `layer` for `points`; `of` names it in errors."""
    sites: list[Site] = []
    for point in points:
        sites += _sites(layer, point, table, of)
    return sites


def _sites(layer: nn.Module, point: str, table: Table, of: str) -> list[Site]:
    if point in "KV":
        return [_key_or_value(layer, point, table, of)]
    if point in "ACOM":
        path = {"A": table.attention, "C": table.mlp, "O": table.out, "M": table.down}[point]
        find_part(layer, path, of)
        return [Site(point, path, _widths(layer, table.qkv[0], of)[0], on_input=point in "AC")]
    paths = table.qkv if point == "B" else table.inner
    if not paths:
        raise ValueError(f"add_canon: {of}: the table names no projection for point {point}")
    names = [point if len(paths) == 1 else f"{point}_{path.rpartition('.')[2]}" for path in paths]
    return [Site(name, path, _widths(layer, path, of)[1]) for name, path in zip(names, paths, strict=True)]


def _key_or_value(layer: nn.Module, point: str, table: Table, of: str) -> Site:
    place = 1 + "KV".index(point)
    if len(table.qkv) == 3:
        return Site(point, table.qkv[place], _widths(layer, table.qkv[place], of)[1])
    (path,) = table.qkv
    total = _widths(layer, path, of)[1]
    if table.head_width:
        head = getattr(find_part(layer, table.attention, of), table.head_width)
        return Site(point, path, total // 3, False, total // (3 * head), place * head, (place + 1) * head)
    queries = _widths(layer, table.out, of)[0]
    width = (total - queries) // 2
    start = queries + (place - 1) * width
    return Site(point, path, width, False, 1, start, start + width)


def _widths(layer: nn.Module, path: str, of: str) -> tuple[int, int]:
    """Of the input and of the output of a linear layer."""
    module: Any = find_part(layer, path, of)
    if hasattr(module, "in_features") and hasattr(module, "out_features"):
        return int(module.in_features), int(module.out_features)
    if type(module).__name__ == "Conv1D":  # GPT-2's linear layer, whose weight is (in, out)
        rows, columns = module.weight.shape
        return int(rows), int(columns)
    raise ValueError(f"add_canon: {of}: {path!r} is a {type(module).__name__}, not a linear layer")
