"""Published checkpoints in plain PyTorch: their settings, names and shapes, and the logits that such tensors give.

Written from the released code's description alone, one position and one head at a time; nothing of canonlab is used.
"""

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

Params = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]

TAPS = 4
RANK = 16
SIZES = {"1B": (2048, 24), "3B": (3072, 26), "8B": (4096, 32)}
PARAMETERS = {
    "Llama": (1.3644, 3.1413, 8.0303),
    "LlamaCanon": (1.3665, 3.1446, 8.0358),
    "GLA5Canon": (1.3452, 3.1510, 8.0132),
    "GLA5conv": (1.3440, 3.1491, 8.0097),
    "GDN2Canon": (1.3451, 3.1522, 8.0172),
    "GDN2conv": (1.3440, 3.1503, 8.0138),
    "Mamba2Canon": (1.3543, 3.1664, 8.0395),
    "Mamba2conv": (1.3531, 3.1645, 8.0361),
}
"""Billions of them at 1B, 3B and 8B."""


def published() -> Iterator[tuple[str, str, Params, int, float]]:
    """(name, family, settings, vocabulary, billions of parameters) of every configuration that was published."""
    for (kind, billions), (place, size) in itertools.product(PARAMETERS.items(), enumerate(SIZES)):
        width, layers = SIZES[size]
        large = size == "8B"
        params: Params = {"dim": width, "n_layers": layers}
        if kind.startswith("Llama"):
            family = "Llama"
            params |= {"n_heads": 24 if size == "3B" else 32}
            params |= {"n_kv_heads": 8, "hidden_dim": 14336, "rope_theta": 100000} if large else {"qk_norm": True}
            if kind == "LlamaCanon":
                params |= {"canon_set": "ABCD", "rope_dim": 16 if size == "1B" else 32}
        else:
            family = kind.removesuffix("Canon").removesuffix("conv")
            params |= {"n_heads": width // 128, "norm_eps": 1e-5, "hidden_dim": 9472 if large else None}
            params |= {"canon_set": "AbbCD" if kind.endswith("Canon") else "bb"}
            params |= {"mamba_ssm": 128} if family == "Mamba2" else {"zeyuan_layernorm": large}
        vocabulary = 128256 if large else 32000
        yield f"{kind}-{size}", family, params, vocabulary, billions[place]
        if f"{kind}-{size}" == "GLA5Canon-3B":
            yield f"{kind}-{size}-lr0.005", family, {**params, "zeyuan_layernorm": True}, vocabulary, billions[place]


def shapes(family: str, params: Params, vocabulary: int) -> Shapes:
    """The tensors of a file."""
    return (_llama_shapes if family == "Llama" else _linear_shapes)(family, params, vocabulary)


def inner_width(family: str, params: Params) -> int:
    d = params["dim"]
    if params.get("hidden_dim"):
        return int(params["hidden_dim"])
    return 256 * math.ceil(8 * d / 768) if family == "Llama" else 2 * d


def _llama_shapes(family: str, params: Params, vocabulary: int) -> Shapes:
    d, heads, inner = params["dim"], params["n_heads"], inner_width(family, params)
    keys = (params.get("n_kv_heads") or heads) * (d // heads)
    canon = params.get("canon_set") or ""
    found: Shapes = {"tok_embeddings.weight": (vocabulary, d), "norm.weight": (d,), "output.weight": (vocabulary, d)}
    for i in range(params["n_layers"]):
        layer: Shapes = {
            "attention_norm": (d,), "attention.wq": (d, d), "attention.wk": (keys, d), "attention.wv": (keys, d),
            "attention.wo": (d, d), "ffn_norm": (d,),
            "feed_forward.w1": (inner, d), "feed_forward.w3": (inner, d), "feed_forward.w2": (d, inner),
        }  # fmt: skip
        if params.get("qk_norm"):
            layer |= {"attention.q_norm": (d,), "attention.k_norm": (keys,)}
        points = {"A": ("canonA", d), "B": ("attention.canonB", d + 2 * keys), "C": ("canonC", d)}
        points |= {"D": ("feed_forward.canonD", 2 * inner)}
        layer |= {name: (width, 1, TAPS) for point, (name, width) in points.items() if point in canon}
        found |= {f"layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return found


def _linear_shapes(family: str, params: Params, vocabulary: int) -> Shapes:
    d, heads, inner = params["dim"], params["n_heads"], inner_width(family, params)
    mamba = family == "Mamba2"
    model = "trans.backbone" if mamba else "trans.model"
    found: Shapes = {
        f"{model}.embeddings.weight": (vocabulary, d),
        f"{model}.{'norm_f' if mamba else 'norm'}.weight": (d,),
        "trans.lm_head.weight": (vocabulary, d),
    }
    has_canon = params["canon_set"] == "AbbCD"
    for i in range(params["n_layers"]):
        layer: Shapes = {"mlp.down_proj.weight": (d, inner)}
        if mamba:
            seen = 2 * d + 2 * params["mamba_ssm"]
            projected = 2 * d + seen + heads
            layer |= {
                "norm.weight": (d,), "pre_mlp_layernorm.weight": (d,), "mixer.in_proj.weight": (projected, d),
                "mixer.conv1d.weight": (seen, 1, TAPS), "mixer.conv1d.bias": (seen,), "mixer.A_log": (heads,),
                "mixer.dt_bias": (heads,), "mixer.D": (heads,), "mixer.norm.weight": (2 * d,),
                "mixer.out_proj.weight": (d, 2 * d), "mlp.both_proj.weight": (2 * inner, d),
            }  # fmt: skip
        else:
            layer |= {
                "attn_norm.weight": (d,), "mlp_norm.weight": (d,), "attn.o_proj.weight": (d, 2 * d),
                "attn.g_proj.0.weight": (RANK, d), "attn.g_proj.1.weight": (2 * d, RANK),
                "attn.g_proj.1.bias": (2 * d,),
            }  # fmt: skip
            for name, width in {"q": d, "k": d, "v": 2 * d}.items():
                layer |= {f"attn.{name}_proj.weight": (width, d), f"attn.{name}_conv1d.weight": (width, 1, TAPS)}
        if family == "GLA5":
            norm = "g_norm" if params.get("zeyuan_layernorm") else "g_norm_swish_gate"
            layer |= {
                "attn.gk_proj.0.weight": (RANK, d), "attn.gk_proj.1.weight": (d, RANK), "attn.gk_proj.1.bias": (d,),
                f"attn.{norm}.weight": (2 * d // heads,), "mlp.gate_proj.weight": (2 * inner, d),
            }  # fmt: skip
        if family == "GDN2":
            layer |= {
                "attn.a_proj.weight": (heads, d), "attn.b_proj.weight": (heads, d), "attn.A_log": (heads,),
                "attn.dt_bias": (heads,), "attn.o_norm.weight": (2 * d // heads,),
            }  # fmt: skip
            if has_canon:
                layer |= {"mlp.both_proj.weight": (2 * inner, d)}
            else:
                layer |= {"mlp.gate_proj.weight": (inner, d), "mlp.up_proj.weight": (inner, d)}
        if has_canon:
            layer |= {"canonA.weight": (d, 1, TAPS), "canonC.weight": (d, 1, TAPS)}
            layer |= {"mlp.canonD.weight": (2 * inner, 1, TAPS)}
        found |= {f"{model}.layers.{i}.{name}": shape for name, shape in layer.items()}
    return found


def random_tensors(wanted: Shapes) -> dict[str, Tensor]:
    """A tensor of each shape in single precision: norms and decays about 1, others smaller."""
    generator = torch.Generator().manual_seed(0)

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        about_one = len(shape) == 1 and not name.endswith("bias")
        return torch.randn(shape, generator=generator) * (0.3 if len(shape) < 2 else 0.2) + about_one

    return {name: draw(name, shape) for name, shape in wanted.items()}


RENAMED = {
    "tok_embeddings": "model.embed_tokens", "output": "lm_head", "norm": "model.norm", "layers": "model.layers",
    "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attention": "self_attn",
    "wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "o_proj", "feed_forward": "mlp",
    "w1": "gate_proj", "w3": "up_proj", "w2": "down_proj",
}  # fmt: skip


def as_hugging_face(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Lingua's tensors under the names that the transformers class has for them."""
    return {".".join(RENAMED.get(word, word) for word in name.split(".")): t for name, t in tensors.items()}


def hugging_face_config(params: Params, vocabulary: int, rope_version: str) -> dict[str, Any]:
    return {
        "model_type": "LlamaCanon", "hidden_size": params["dim"], "num_hidden_layers": params["n_layers"],
        "num_attention_heads": params["n_heads"], "num_key_value_heads": params.get("n_kv_heads"),
        "intermediate_size": inner_width("Llama", params), "vocab_size": vocabulary, "rms_norm_eps": params["norm_eps"],
        "rope_theta": params["rope_theta"], "rope_dim": params.get("rope_dim"), "qk_norm": params["qk_norm"],
        "canon_set": params.get("canon_set", ""), "rope_version": rope_version, "tie_word_embeddings": False,
    }  # fmt: skip


def write_published(folder: Path, params: Params, tensors: dict[str, Tensor]) -> Path:
    """A folder as it is published."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps({"name": "tiny", "model": params, "data": {"seq_len": 4096}}))
    torch.save({"model": tensors}, folder / "consolidated.pth")
    return folder


def write_shards(folder: Path, tensors: dict[str, Tensor], shards: int = 2) -> Path:
    """The weights as safetensors: one file, or several and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    places = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name, place in places.items() if place == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def logits(family: str, params: Params, tensors: dict[str, Tensor], ids: Tensor, halves: bool = False) -> Tensor:
    """Logits (time, vocabulary) after each of `ids` (time,), in double precision, from the tensors of a file.

    With `halves` rotation pairs dimension j with j + r / 2, otherwise 2j with 2j + 1.
    """
    w = {name: tensor.double() for name, tensor in tensors.items()}
    llama, mamba = family == "Llama", family == "Mamba2"
    eps = params.get("layer_norm_epsilon" if mamba else "norm_eps", 1e-5)
    top = "" if llama else "trans.backbone." if mamba else "trans.model."
    embedding, norm, head, first, second = {
        "Llama": ("tok_embeddings", "norm", "output", "attention_norm", "ffn_norm"),
        "Mamba2": ("embeddings", "norm_f", "lm_head", "norm", "pre_mlp_layernorm"),
    }.get(family, ("embeddings", "norm", "lm_head", "attn_norm", "mlp_norm"))
    mixer = {"Llama": _attention, "GLA5": _gla, "GDN2": _gdn, "Mamba2": _mamba}[family]
    x = w[f"{top}{embedding}.weight"][ids]
    for i in range(params["n_layers"]):
        prefix = f"{top}layers.{i}."
        layer = {name.removeprefix(prefix): t for name, t in w.items() if name.startswith(prefix)}
        h = _canon(_rms(x, layer[f"{first}.weight"], eps), layer.get("canonA.weight"))
        x = x + mixer(layer, params, h, eps, halves)
        h = _canon(_rms(x, layer[f"{second}.weight"], eps), layer.get("canonC.weight"))
        x = x + _mlp(layer, h)
    return _rms(x, w[f"{top}{norm}.weight"], eps) @ w["output.weight" if llama else f"trans.{head}.weight"].T


def _rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def _conv(x: Tensor, weight: Tensor) -> Tensor:
    """x (time, m) through taps (m, 1, K), the last of which is for the current position."""
    return F.conv1d(F.pad(x.T[None], (TAPS - 1, 0)), weight, groups=len(weight))[0].T


def _canon(x: Tensor, weight: Tensor | None) -> Tensor:
    return x if weight is None else x + _conv(x, weight)


def _mlp(layer: dict[str, Tensor], x: Tensor) -> Tensor:
    names = ("feed_forward.w1", "feed_forward.w3", "mlp.both_proj", "mlp.gate_proj", "mlp.up_proj")
    both = torch.cat([x @ layer[f"{name}.weight"].T for name in names if f"{name}.weight" in layer], -1)
    both = _canon(both, layer.get("feed_forward.canonD.weight", layer.get("mlp.canonD.weight")))
    gate, up = both.chunk(2, -1)
    down = layer.get("feed_forward.w2.weight", layer.get("mlp.down_proj.weight"))
    assert down is not None
    return (F.silu(gate) * up) @ down.T


def _rotated(x: Tensor, t: int, dimensions: int, base: float, halves: bool) -> Tensor:
    """One head's vector at position t, pair by pair."""
    x = x.clone()
    for j in range(dimensions // 2):
        a, b = (j, j + dimensions // 2) if halves else (2 * j, 2 * j + 1)
        angle = t * base ** (-2 * j / dimensions)
        turned = complex(x[a], x[b]) * complex(math.cos(angle), math.sin(angle))
        x[a], x[b] = turned.real, turned.imag
    return x


def _attention(layer: dict[str, Tensor], params: Params, x: Tensor, eps: float, halves: bool) -> Tensor:
    heads, time = params["n_heads"], len(x)
    width = params["dim"] // heads
    key_heads = params.get("n_kv_heads") or heads
    q, k, v = (x @ layer[f"attention.{name}.weight"].T for name in ("wq", "wk", "wv"))
    if params.get("qk_norm"):
        q, k = _rms(q, layer["attention.q_norm.weight"], eps), _rms(k, layer["attention.k_norm.weight"], eps)
    qkv = _canon(torch.cat([q, k, v], -1), layer.get("attention.canonB.weight"))
    q, k, v = qkv.split([heads * width, key_heads * width, key_heads * width], -1)
    q, k, v = (y.unflatten(-1, (-1, width)) for y in (q, k, v))
    dimensions, base = params.get("rope_dim") or width, params.get("rope_theta", 1e4)
    out = torch.zeros_like(q)
    for h, t in itertools.product(range(heads), range(time)):
        shared = h // (heads // key_heads)
        query = _rotated(q[t, h], t, dimensions, base, halves)
        keys = torch.stack([_rotated(k[s, shared], s, dimensions, base, halves) for s in range(t + 1)])
        out[t, h] = torch.softmax(keys @ query / math.sqrt(width), 0) @ v[: t + 1, shared]
    return out.flatten(1) @ layer["attention.wo.weight"].T


def _short(layer: dict[str, Tensor], x: Tensor, heads: int) -> Iterator[Tensor]:
    for name in ("q", "k", "v"):
        y = F.silu(_conv(x @ layer[f"attn.{name}_proj.weight"].T, layer[f"attn.{name}_conv1d.weight"]))
        yield y.unflatten(-1, (heads, -1))


def _low_rank(layer: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ layer[f"{name}.0.weight"].T @ layer[f"{name}.1.weight"].T + layer[f"{name}.1.bias"]


def _gated(layer: dict[str, Tensor], x: Tensor, out: Tensor, norm: Tensor, eps: float) -> Tensor:
    normed = _rms(out, norm, eps).flatten(1)
    return (normed * F.silu(_low_rank(layer, "attn.g_proj", x))) @ layer["attn.o_proj.weight"].T


def _gla(layer: dict[str, Tensor], params: Params, x: Tensor, eps: float, _: bool) -> Tensor:
    heads = params["n_heads"]
    q, k, v = _short(layer, x, heads)
    decay = (F.logsigmoid(_low_rank(layer, "attn.gk_proj", x)) / 16).exp().unflatten(-1, (heads, -1))
    out = torch.zeros_like(v)
    for h in range(heads):
        state = torch.zeros(k.shape[-1], v.shape[-1], dtype=x.dtype)
        for t in range(len(x)):
            state = decay[t, h][:, None] * state + torch.outer(k[t, h], v[t, h])
            out[t, h] = q[t, h] @ state * k.shape[-1] ** -0.5
    norm = layer.get("attn.g_norm.weight", layer.get("attn.g_norm_swish_gate.weight"))
    assert norm is not None
    return _gated(layer, x, out, norm, eps)


def _gdn(layer: dict[str, Tensor], params: Params, x: Tensor, eps: float, _: bool) -> Tensor:
    heads = params["n_heads"]
    q, k, v = _short(layer, x, heads)
    q, k = (y / (y.square().sum(-1, keepdim=True) + 1e-6).sqrt() for y in (q, k))
    beta = torch.sigmoid(x @ layer["attn.b_proj.weight"].T)
    step = F.softplus(x @ layer["attn.a_proj.weight"].T + layer["attn.dt_bias"])
    decay = (-layer["attn.A_log"].exp() * step).exp()
    out = torch.zeros_like(v)
    for h in range(heads):
        state = torch.zeros(k.shape[-1], v.shape[-1], dtype=x.dtype)
        for t in range(len(x)):
            state = decay[t, h] * state
            state = state + torch.outer(k[t, h], beta[t, h] * (v[t, h] - k[t, h] @ state))
            out[t, h] = q[t, h] @ state * k.shape[-1] ** -0.5
    return _gated(layer, x, out, layer["attn.o_norm.weight"], eps)


def _mamba(layer: dict[str, Tensor], params: Params, x: Tensor, eps: float, _: bool) -> Tensor:
    d, heads, size = params["dim"], params["n_heads"], params["mamba_ssm"]
    z, xbc, dt = (x @ layer["mixer.in_proj.weight"].T).split([2 * d, 2 * d + 2 * size, heads], -1)
    xbc = F.silu(_conv(xbc, layer["mixer.conv1d.weight"]) + layer["mixer.conv1d.bias"])
    values, b, c = xbc.split([2 * d, size, size], -1)
    values = values.unflatten(-1, (heads, -1))
    step = F.softplus(dt + layer["mixer.dt_bias"])
    out = torch.zeros_like(values)
    for h in range(heads):
        state = torch.zeros(size, values.shape[-1], dtype=x.dtype)
        for t in range(len(x)):
            decay = (-layer["mixer.A_log"][h].exp() * step[t, h]).exp()
            state = decay * state + torch.outer(b[t], step[t, h] * values[t, h])
            out[t, h] = c[t] @ state + layer["mixer.D"][h] * values[t, h]
    return _rms(out.flatten(1) * F.silu(z), layer["mixer.norm.weight"], eps) @ layer["mixer.out_proj.weight"].T
