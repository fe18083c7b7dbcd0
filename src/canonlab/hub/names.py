"""The tensors of published checkpoints: their names, their shapes, and which of a decoder's tensors each belongs to.

Source: github.com/facebookresearch/PhysicsLM4, whose models keep the names of the code that they were trained with
(Lingua; flash-linear-attention and transformers behind `trans.`). Shapes are in symbols:

d width, V vocabulary, I inner width of the MLP, K taps, H heads, e width of a head's values in linear models, S state;
q, k and qkv rows of all heads' queries, keys (or values), and of these three; x = 2d + 2S, what Mamba2's convolution
sees, and z = 4d + 2S + H, what its input is projected to.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from canonlab.errors import InputError
from canonlab.models.decoder import DecoderConfig


@dataclass(frozen=True)
class Row:
    """One tensor of a decoder, and those of a checkpoint that stand below one another in it, with their shapes.

    What has three dimensions holds the taps of a depthwise convolution, the oldest first. `turned` says which heads'
    rows, q, k or both of qkv, are in another order where a checkpoint pairs dimensions otherwise to rotate them.
    """

    name: str
    parts: tuple[str, ...]
    shapes: tuple[str, ...]
    turned: str = ""


def _row(name: str, parts: str, shapes: str, turned: str = "") -> Row:
    return Row(name, tuple(parts.split()), tuple(shapes.split()), turned)


@dataclass(frozen=True)
class Family:
    """Checkpoints of one code base, told by the name of their embedding and of another tensor, `mark`, or none.

    `block` is of every layer, whose names begin with `layer`. Of several rows for one tensor, that whose first part is
    in the file holds. `settings` is the file with the model's settings. `interleaved`: rotation pairs neighbours.
    """

    about: str
    settings: str
    layer: str
    top: tuple[Row, ...]
    block: tuple[Row, ...]
    mark: str = ""
    interleaved: bool = False

    @property
    def embedding(self) -> str:
        return self.top[0].parts[0]

    def fits(self, names: Collection[str]) -> bool:
        return self.embedding in names and (not self.mark or self.layer.format(0) + self.mark in names)


def _top(embedding: str, norm: str, head: str) -> tuple[Row, ...]:
    return (
        _row("embedding.weight", embedding, "V,d"),
        _row("norm.weight", norm, "d"),
        _row("head.weight", head, "V,d"),
    )


LLAMA = Family(
    "Llama or LlamaCanon, named as by Lingua",
    "params.json",
    "layers.{}.",
    _top("tok_embeddings.weight", "norm.weight", "output.weight"),
    (
        _row("mixer_norm.weight", "attention_norm.weight", "d"),
        _row("canon_a.weight", "canonA.weight", "d,1,K"),
        _row("mixer.qkv.weight", "attention.wq.weight attention.wk.weight attention.wv.weight", "q,d k,d k,d", "qkv"),
        _row("mixer.q_norm.weight", "attention.q_norm.weight", "q", "q"),
        _row("mixer.k_norm.weight", "attention.k_norm.weight", "k", "k"),
        _row("mixer.canon.weight", "attention.canonB.weight", "qkv,1,K", "qkv"),
        _row("mixer.out.weight", "attention.wo.weight", "d,q"),
        _row("mlp_norm.weight", "ffn_norm.weight", "d"),
        _row("canon_c.weight", "canonC.weight", "d,1,K"),
        _row("mlp.up.weight", "feed_forward.w1.weight feed_forward.w3.weight", "I,d I,d"),
        _row("mlp.canon.weight", "feed_forward.canonD.weight", "2I,1,K"),
        _row("mlp.down.weight", "feed_forward.w2.weight", "d,I"),
    ),
    interleaved=True,
)

HUGGING_FACE = Family(
    "LlamaCanonForCausalLM of transformers",
    "config.json",
    "model.layers.{}.",
    _top("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"),
    (
        _row("mixer_norm.weight", "input_layernorm.weight", "d"),
        _row("canon_a.weight", "canonA.weight", "d,1,K"),
        _row(
            "mixer.qkv.weight",
            "self_attn.q_proj.weight self_attn.k_proj.weight self_attn.v_proj.weight",
            "q,d k,d k,d",
            "qkv",
        ),
        _row("mixer.q_norm.weight", "self_attn.q_norm.weight", "q", "q"),
        _row("mixer.k_norm.weight", "self_attn.k_norm.weight", "k", "k"),
        _row("mixer.canon.weight", "self_attn.canonB.weight", "qkv,1,K", "qkv"),
        _row("mixer.out.weight", "self_attn.o_proj.weight", "d,q"),
        _row("mlp_norm.weight", "post_attention_layernorm.weight", "d"),
        _row("canon_c.weight", "canonC.weight", "d,1,K"),
        _row("mlp.up.weight", "mlp.gate_proj.weight mlp.up_proj.weight", "I,d I,d"),
        _row("mlp.canon.weight", "mlp.canonD.weight", "2I,1,K"),
        _row("mlp.down.weight", "mlp.down_proj.weight", "d,I"),
    ),
)

LINEAR_TOP = _top("trans.model.embeddings.weight", "trans.model.norm.weight", "trans.lm_head.weight")
LINEAR_BLOCK = (
    _row("mixer_norm.weight", "attn_norm.weight", "d"),
    _row("canon_a.weight", "canonA.weight", "d,1,K"),
    _row("mixer.qkv.weight", "attn.q_proj.weight attn.k_proj.weight attn.v_proj.weight", "d,d d,d 2d,d"),
    _row(
        "mixer.conv.conv.weight",
        "attn.q_conv1d.weight attn.k_conv1d.weight attn.v_conv1d.weight",
        "d,1,K d,1,K 2d,1,K",
    ),
    _row("mixer.gate.0.weight", "attn.g_proj.0.weight", "16,d"),
    _row("mixer.gate.1.weight", "attn.g_proj.1.weight", "2d,16"),
    _row("mixer.gate.1.bias", "attn.g_proj.1.bias", "2d"),
    _row("mixer.out.weight", "attn.o_proj.weight", "d,2d"),
    _row("mlp_norm.weight", "mlp_norm.weight", "d"),
    _row("canon_c.weight", "canonC.weight", "d,1,K"),
    _row("mlp.canon.weight", "mlp.canonD.weight", "2I,1,K"),
    _row("mlp.down.weight", "mlp.down_proj.weight", "d,I"),
)
"""What GLA5 and GDN2 share."""

GLA5 = Family(
    "GLA5",
    "params.json",
    "trans.model.layers.{}.",
    LINEAR_TOP,
    (
        *LINEAR_BLOCK,
        _row("mixer.decay.0.weight", "attn.gk_proj.0.weight", "16,d"),
        _row("mixer.decay.1.weight", "attn.gk_proj.1.weight", "d,16"),
        _row("mixer.decay.1.bias", "attn.gk_proj.1.bias", "d"),
        _row("mixer.norm.weight", "attn.g_norm_swish_gate.weight", "e"),
        _row("mixer.norm.weight", "attn.g_norm.weight", "e"),
        _row("mlp.up.weight", "mlp.gate_proj.weight", "2I,d"),
    ),
    mark="attn.gk_proj.0.weight",
)

GDN2 = Family(
    "GDN2",
    "params.json",
    "trans.model.layers.{}.",
    LINEAR_TOP,
    (
        *LINEAR_BLOCK,
        _row("mixer.beta_and_decay.weight", "attn.b_proj.weight attn.a_proj.weight", "H,d H,d"),
        _row("mixer.A_log", "attn.A_log", "H"),
        _row("mixer.dt_bias", "attn.dt_bias", "H"),
        _row("mixer.norm.weight", "attn.o_norm.weight", "e"),
        _row("mlp.up.weight", "mlp.both_proj.weight", "2I,d"),
        _row("mlp.up.weight", "mlp.gate_proj.weight mlp.up_proj.weight", "I,d I,d"),
    ),
    mark="attn.A_log",
)

MAMBA2 = Family(
    "Mamba2 with MLPs",
    "params.json",
    "trans.backbone.layers.{}.",
    _top("trans.backbone.embeddings.weight", "trans.backbone.norm_f.weight", "trans.lm_head.weight"),
    (
        _row("mixer_norm.weight", "norm.weight", "d"),
        _row("canon_a.weight", "canonA.weight", "d,1,K"),
        _row("mixer.in_proj.weight", "mixer.in_proj.weight", "z,d"),
        _row("mixer.conv.conv.weight", "mixer.conv1d.weight", "x,1,K"),
        _row("mixer.conv.bias", "mixer.conv1d.bias", "x"),
        _row("mixer.A_log", "mixer.A_log", "H"),
        _row("mixer.dt_bias", "mixer.dt_bias", "H"),
        _row("mixer.D", "mixer.D", "H"),
        _row("mixer.norm.weight", "mixer.norm.weight", "2d"),
        _row("mixer.out_proj.weight", "mixer.out_proj.weight", "d,2d"),
        _row("mlp_norm.weight", "pre_mlp_layernorm.weight", "d"),
        _row("canon_c.weight", "canonC.weight", "d,1,K"),
        _row("mlp.up.weight", "mlp.both_proj.weight", "2I,d"),
        _row("mlp.canon.weight", "mlp.canonD.weight", "2I,1,K"),
        _row("mlp.down.weight", "mlp.down_proj.weight", "d,I"),
    ),
)

FAMILIES = (LLAMA, HUGGING_FACE, GLA5, GDN2, MAMBA2)


def family_of(names: Collection[str], where: object) -> Family:
    """The family whose names these are. InputError where there is none."""
    for family in FAMILIES:
        if family.fits(names):
            return family
    first = ", ".join(sorted(names)[:3]) or "no tensors"
    known = ", ".join(f"{family.embedding} of {family.about}" for family in FAMILIES)
    raise InputError(f"{where}: is of no published model (it has {first}; known are {known})")


def symbols(config: DecoderConfig) -> dict[str, int]:
    """What the symbols of shapes stand for in a decoder of a published kind."""
    (kind,) = config.pattern
    assert kind.mlp is not None
    d, inner, arguments = config.width, kind.mlp.intermediate, kind.mixer.arguments
    heads, state = arguments["heads"], arguments.get("state", 0)
    keys = (arguments.get("kv_heads") or heads) * (d // heads)
    return {
        "1": 1,
        "16": 16,
        "K": config.canon.kernel,
        "V": config.vocabulary,
        "d": d,
        "2d": 2 * d,
        "I": inner,
        "2I": 2 * inner,
        "H": heads,
        "e": 2 * d // heads,
        "q": d,
        "k": keys,
        "qkv": d + 2 * keys,
        "x": 2 * d + 2 * state,
        "z": 4 * d + 2 * state + heads,
    }


def rows(family: Family, own: Collection[str], names: Collection[str]) -> Iterator[Row]:
    """A row, with full names, for each of the tensors that a decoder has, its `own`, from a file that has `names`."""
    for name in own:
        block, number, rest = ("", "", name)
        if name.startswith("blocks."):
            block, number, rest = name.split(".", 2)
        layer = family.layer.format(number) if block else ""
        fitting = [row for row in (family.block if block else family.top) if row.name == rest]
        row = next((row for row in fitting if layer + row.parts[0] in names), fitting[0])
        yield replace(row, name=name, parts=tuple(layer + part for part in row.parts))
