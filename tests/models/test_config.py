"""Words to configurations: Canon sets, presets, hybrids, plugins and their errors."""

import json
from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.models.canon_points import CanonConfig
from canonlab.models.config import ModelConfig, todays_names
from canonlab.models.cost import parameters
from canonlab.models.decoder import DecoderConfig
from canonlab.models.layers import RMSNorm
from canonlab.models.presets import PRESETS
from tiny_runs import MIXER

MEAN = '''
from dataclasses import dataclass
import torch
from canonlab.models.mixers.base import Mixer


class RunningMean(Mixer):
    """y_t = mean of x_1 .. x_t, through a projection."""

    @dataclass(frozen=True)
    class Config:
        width: int
        scale: float = 1.0

    def __init__(self, config, canon):
        super().__init__()
        self.scale = config.scale
        {canon}
        self.out = torch.nn.Linear(config.width, config.width)

    def forward(self, x, segment_ids, state):
        count = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        return self.out(x.cumsum(1) / count) * self.scale, state
'''


def plugin(folder: Path, canon: str = "") -> str:
    path = folder / "mean.py"
    path.write_text(MEAN.replace("{canon}", canon))
    return f"{path}:RunningMean"


def test_canon_sets_are_put_in_order() -> None:
    assert CanonConfig("DCBA").points == "ABCD"
    assert CanonConfig("none").points == CanonConfig("").points == ""
    assert CanonConfig("DbA").points == "AbD"
    assert CanonConfig("MOVKbDCA").points == "AbCDKVOM"


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("ABX", "unknown point 'X'"),
        ("ac", "did you mean 'A'"),
        ("AA", "named twice"),
        ("Bb", "B replaces"),
        ("BK", "leave K and V out"),
    ],
)
def test_bad_canon_sets(points: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CanonConfig(points)


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'llama-rope'"):
        ModelConfig(model="lama-rope").decoder(10)


def test_unknown_mixer_argument() -> None:
    with pytest.raises(InputError, match="did you mean 'position'"):
        ModelConfig(mixer={"positions": "rope"}).decoder(10)
    with pytest.raises(InputError, match="canon says it instead"):
        ModelConfig("gdn", mixer={"conv1d": False}).decoder(10)


def test_llama_has_no_point_b_of_its_own() -> None:
    with pytest.raises(InputError, match="Attention has no point b"):
        ModelConfig(canon="AbCD").decoder(10)


def convolutions(config: DecoderConfig) -> list[bool]:
    return [block.mixer.arguments.get("conv1d", False) for block in config.pattern]


@pytest.mark.parametrize("name", PRESETS)
def test_the_original_canon_set_is_the_authors_own_convolution(name: str) -> None:
    own = name in ("mamba2", "mamba2-mlp", "gdn", "gdn-wide", "gdn2", "kda", "deltaproduct", "rwkv7", "gla5")
    config = ModelConfig(name).decoder(10)
    assert config.canon.points == ("b" if own else "")
    assert set(convolutions(config)) == {own}
    assert ModelConfig(name, canon="none").decoder(10).canon.points == ""


@pytest.mark.parametrize("name", ["gla", "gla5", "mamba2-mlp", "gdn", "gdn-wide", "gdn2", "kda", "deltaproduct"])
def test_capital_b_replaces_the_convolution(name: str) -> None:
    for points, own in (("none", False), ("ABCD", False), ("AC", False), ("b", True), ("AbCD", True)):
        config = ModelConfig(name, canon=points).decoder(10)
        assert convolutions(config) == [own]
        assert config.canon.points == points.replace("none", "")


WIDE, NEW = "GatedDeltaNet", "GatedDeltaNet2"


@pytest.mark.parametrize(
    ("written", "mixers", "today"),
    [
        ("gdn2", [WIDE], "gdn-wide"),
        ("gdn2", [NEW], "gdn2"),
        ("gdn, gdn2", [WIDE, WIDE], "gdn,gdn-wide"),
        ("gdn,gdn2", [WIDE, NEW], "gdn,gdn2"),
        ("mamba2,gdn2,gdn", ["Mamba2", "Mamba2", WIDE, WIDE], "mamba2,gdn-wide,gdn"),
        ("mamba2,gdn2,gdn", ["Mamba2", "Mamba2", NEW, WIDE], "mamba2,gdn2,gdn"),
        ("gone/a, b.py:GatedDeltaNet2,gdn2", [NEW, WIDE], "gone/a, b.py:GatedDeltaNet2,gdn-wide"),
        ("gone/a, b.py:GatedDeltaNet,gdn2", [WIDE, NEW], "gone/a, b.py:GatedDeltaNet,gdn2"),
        ("gdn2,gdn2", [WIDE], "gdn-wide,gdn2"),
    ],
)
def test_what_gdn2_was_is_gdn_wide(written: str, mixers: list[str], today: str) -> None:
    assert todays_names(written, mixers) == today


def test_a_hybrid_has_point_b_where_there_is_a_convolution() -> None:
    assert convolutions(ModelConfig("gdn,llama-rope,gla").decoder(10)) == [True, False, False]
    assert convolutions(ModelConfig("gdn,llama-rope,gla", canon="AbCD").decoder(10)) == [True, False, True]
    assert convolutions(ModelConfig("gdn,llama-rope,gla", canon="ABCD").decoder(10)) == [False, False, False]


def test_points_at_the_mlp_fall_away_without_one() -> None:
    assert ModelConfig("mamba2", canon="ABCD").decoder(10).canon.points == "AB"
    assert ModelConfig("mamba2", canon="AbCD").decoder(10).canon.points == "Ab"
    assert ModelConfig("mamba2", canon="KVOM").decoder(10).canon.points == "KVO"
    assert ModelConfig(mlp="none", canon="ABCD").decoder(10).canon.points == "AB"
    assert ModelConfig("mamba2,mamba2-mlp", canon="ABCD").decoder(10).canon.points == "ABCD"
    with pytest.raises(InputError, match="points C, D and M are at the MLP, and mamba2 has none"):
        ModelConfig("mamba2", canon="CD").decoder(10)


def inner(**settings: object) -> tuple[str, int] | None:
    mlp = ModelConfig(**settings).decoder(10).pattern[0].mlp  # type: ignore[arg-type]
    return None if mlp is None else (mlp.kind, mlp.intermediate)


def test_the_width_of_the_mlp() -> None:
    assert inner() == ("gated", 1376)
    assert inner(exact_intermediate=True) == ("gated", 1365)
    assert inner(size="8L768D") == inner(size="8L768D", exact_intermediate=True) == ("gated", 2048)
    assert inner(model="gpt2-rope") == inner(mlp="standard") == ("standard", 2048)
    assert inner(model="gpt2-rope", mlp="gated") == ("gated", 1376)
    assert inner(model="gdn") == ("gated", 1024)
    assert inner(model="gdn", mlp="standard") == ("standard", 1536)  # of the same 6 d^2
    assert inner(model="llama-moe") == inner(mlp="moe") == ("moe", 512)
    assert inner(model="gpt2-rope", mlp_ratio=1) == ("standard", 512)
    assert inner(mlp="none") is inner(model="mamba2") is None


def test_the_activation_of_the_mlp() -> None:
    for model, expected in (("llama-rope", "silu"), ("llama-relu2", "relu2"), ("gpt2-relu2", "relu2")):
        assert ModelConfig(model).decoder(10).pattern[0].mlp.activation == expected  # type: ignore[union-attr]
    assert ModelConfig(activation="gelu").decoder(10).pattern[0].mlp.activation == "gelu"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mlp": "gatd"}, "did you mean 'gated'"),
        ({"activation": "relu"}, "did you mean 'relu2'"),
        ({"mlp_ratio": -1.0}, "mlp_ratio = -1.0"),
        ({"mlp_ratio": 0.0001}, "inner layer = 0"),
        ({"model": "gdn,"}, "unknown model ''"),
        ({"model": "gdn,lama-rope"}, "did you mean 'llama-rope'"),
    ],
)
def test_words_that_mean_nothing(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ModelConfig(**settings).decoder(10)  # type: ignore[arg-type]


def test_layers_of_a_hybrid_match_in_size() -> None:
    assert ModelConfig("mamba2", "8L512D").decoder(10).layers == 16
    assert ModelConfig("mamba2,llama-rope", "3L64D").decoder(10).layers == 2 + 1 + 2


def test_an_argument_goes_to_the_mixers_that_have_it() -> None:
    gdn, llama = ModelConfig("gdn,llama-rope", mixer={"position": "nope"}).decoder(10).pattern
    assert llama.mixer.arguments["position"] == "nope"
    assert "position" not in gdn.mixer.arguments


def test_numbers_have_the_type_that_the_mixer_declares(tmp_path: Path) -> None:
    for model, name in (("gla", "key_share"), (plugin(tmp_path), "scale")):
        values = [
            ModelConfig(model, canon="none", mixer={name: v}).decoder(10).pattern[0].mixer.arguments[name]
            for v in (1, 1.0, "1")
        ]
        assert [(type(value), value) for value in values] == [(float, 1.0)] * 3
    for rank in (8, 8.0, "8"):
        made = ModelConfig("gla", mixer={"gate_rank": rank}).decoder(10).pattern[0].mixer.arguments["gate_rank"]
        assert (type(made), made) == (int, 8)


@pytest.mark.parametrize(
    ("model", "mixer", "message"),
    [
        ("gla", {"heads": "two"}, "mixer.heads = 'two': must be an integer"),
        ("gla", {"heads": True}, "mixer.heads = True: must be an integer"),
        ("gla", {"key_share": "half"}, "mixer.key_share = 'half': must be a number"),
        ("gdn,llama-rope", {"qk_norm": 1}, "mixer.qk_norm = 1: must be true or false"),
        ("llama-rope", {"position": 1}, "mixer.position = 1: must be text"),
    ],
)
def test_an_argument_of_another_type_is_refused(model: str, mixer: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        ModelConfig(model, mixer=mixer).decoder(10)
    assert str(error.value) == message


def test_a_default_and_the_same_value_given_are_one_decoder(tmp_path: Path) -> None:
    fields = "scale: float = 1\n        odd: int = None\n        at: Path = None"
    own = MEAN.replace("{canon}", "").replace("scale: float = 1.0", fields)
    (tmp_path / "own.py").write_text(f"from __future__ import annotations\nfrom pathlib import Path\n{own}")
    name = f"{tmp_path / 'own.py'}:RunningMean"
    plain, *given = [
        ModelConfig(name, "1L32D", mixer=mixer).decoder(10).plain()
        for mixer in ({}, {"scale": 1}, {"scale": "1.0"}, {"at": "a/b"})
    ]
    assert [json.dumps(each) for each in given[:2]] == [json.dumps(plain)] * 2
    assert given[2]["pattern"][0]["mixer"]["arguments"] == {"scale": 1.0, "at": "a/b"}


def test_the_identity_names_every_argument_and_every_block() -> None:
    plain = ModelConfig("mamba2-mlp,llama-rope", "2L64D", canon="AbC", tied=True).decoder(10).plain()
    first, second = plain["pattern"]
    assert first["mixer"]["class"] == "Mamba2"
    assert first["mixer"]["arguments"]["conv1d"] and first["mixer"]["arguments"]["state"] == 64
    assert second == {
        "mixer": {"class": "Attention", "arguments": second["mixer"]["arguments"]},
        "mlp": {"kind": "gated", "intermediate": 192, "activation": "silu", "bias": False, "std": 0.02},
    }
    assert plain["canon"]["points"] == "AbC" and plain["tied"] and plain["norm_eps"] == 1e-5
    assert json.loads(json.dumps(plain)) == plain


def test_a_users_mixer_is_built_with_its_arguments(tmp_path: Path) -> None:
    config = ModelConfig(model=plugin(tmp_path), size="1L32D", canon="ACD", mixer={"scale": 0.5}).decoder(10)
    parameters(config)
    assert config.build().blocks[0].mixer.scale == 0.5  # type: ignore[union-attr]


def test_a_mixer_without_state_trains_but_cannot_decode(tmp_path: Path) -> None:
    model = ModelConfig(model=plugin(tmp_path), size="1L32D").decoder(10).build()
    with pytest.raises(InputError, match="RunningMean has no init_state"):
        model.init_state(1, 8)


def test_point_b_needs_a_mixer_that_places_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="RunningMean has no point B"):
        parameters(ModelConfig(model=plugin(tmp_path), size="1L32D", canon="ABCD").decoder(10))
    placed = plugin(tmp_path, "self.canon = canon(config.width)")
    parameters(ModelConfig(model=placed, size="1L32D", canon="ABCD").decoder(10))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("missing.py:Mixer", "cannot read"),
        ("{file}:Mean", "did you mean 'RunningMean'"),
        ("{broken}:X", "does not load"),
    ],
)
def test_plugins_that_do_not_load(tmp_path: Path, reference: str, message: str) -> None:
    plugin(tmp_path)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    name = reference.format(file=tmp_path / "mean.py", broken=tmp_path / "broken.py")
    with pytest.raises(InputError, match=message):
        ModelConfig(model=name).decoder(10)


@pytest.mark.parametrize(("field", "on"), [("conv1d: bool = True", True), ("conv1d: bool = False", False)])
def test_original_is_what_a_users_mixer_says(tmp_path: Path, field: str, on: bool) -> None:
    assert convolutions(ModelConfig(own_convolution(tmp_path, field), "2L16D2H", "original").decoder(10)) == [on]


def test_original_of_a_users_mixer_that_does_not_say_is_refused(tmp_path: Path) -> None:
    model = own_convolution(tmp_path, "conv1d: bool")
    said = "canon = 'original': the Config of Mean has a field conv1d without a default"
    for canon in ("original", "Original"):
        with pytest.raises(InputError, match=said):
            ModelConfig(model, "2L16D2H", canon).decoder(10)
    with pytest.raises(InputError, match=said):
        ModelConfig(f"llama-rope,{model}", "2L16D2H").decoder(10)
    for canon, on in (("b", True), ("none", False)):
        assert convolutions(ModelConfig(model, "2L16D2H", canon).decoder(10)) == [on]


def own_convolution(folder: Path, field: str) -> str:
    """A mixer of the user's with a short convolution of its own."""
    path = folder / "mine.py"
    path.write_text(MIXER.replace("        width: int\n", f"        width: int\n        {field}\n"))
    return f"{path}:Mean"


@pytest.mark.parametrize(("model", "canon"), [("llama-moe", "ABC"), ("gla", "ABCD"), ("gdn", "AbCD")])
def test_initial_matrices_are_scaled_where_their_law_does_not_know_the_width(model: str, canon: str) -> None:
    plain, scaled = (
        ModelConfig(model, "2L64D4H", canon, **settings).decoder(10).build(1).state_dict()
        for settings in ({}, {"init_scale": 4.0, "embedding_std": 0.1})
    )
    times = {name: float((scaled[name] / plain[name]).nanmedian()) for name in plain}
    assert times.pop("embedding.weight") == pytest.approx(5)
    matrices = {
        name for name, tensor in plain.items() if tensor.ndim > 1 and "canon" not in name and "conv" not in name
    }
    assert {name for name, factor in times.items() if factor == pytest.approx(4)} == matrices - {"embedding.weight"}
    same = plain.keys() - matrices
    assert len(matrices) > 8 and all(bool((plain[name] == scaled[name]).all()) for name in same)


def test_matrices_of_pytorchs_own_law_stay() -> None:
    plain, scaled = (
        ModelConfig("mamba2", "1L64D", init_scale=factor).decoder(10).build(1).state_dict() for factor in (1.0, 4.0)
    )
    assert all(bool((plain[name] == scaled[name]).all()) for name in plain)


@pytest.mark.parametrize(
    ("model", "argument", "value"),
    [("gla", "key_share", 0.25), ("gdn", "key_share", 0.375), ("mamba2", "state", 4), ("mamba3", "state", 4)],
)
def test_a_state_may_be_a_share_of_the_published_models(model: str, argument: str, value: float) -> None:
    """A sixteenth of what 8L512D has, at width 64."""
    for size in ("8L512D", "2L64D"):
        arguments = ModelConfig(model, size, state_share=1 / 16).decoder(10).pattern[0].mixer.arguments
        width = int(size[2:-1])
        assert arguments[argument] == pytest.approx(value if argument == "state" else value * 64 / width)
    whole = ModelConfig(model, "8L512D", state_share=1.0).decoder(10)
    assert whole == ModelConfig(model, "8L512D").decoder(10)
    own = ModelConfig(model, "2L64D", state_share=1 / 16, mixer={argument: 1}).decoder(10)
    assert own.pattern[0].mixer.arguments[argument] == 1


def test_a_users_mixer_has_the_same_rule_by_naming_its_field(tmp_path: Path) -> None:
    text = MIXER.replace("        width: int\n", "        width: int\n        rank: int = 32\n")
    path = tmp_path / "mine.py"
    path.write_text(text.replace("    @dataclass", '    state_field = "rank"\n\n    @dataclass'))
    model = f"{path}:Mean"
    assert ModelConfig(model, "2L64D", state_share=1 / 16).decoder(10).pattern[0].mixer.arguments["rank"] == 2
    path.write_text(text.replace("    @dataclass", '    state_field = "rang"\n\n    @dataclass'))
    with pytest.raises(InputError, match="Mean has state_field = 'rang', which must be"):
        ModelConfig(model, "2L64D", state_share=1 / 16).decoder(10)
    assert ModelConfig("llama-rope", "2L64D", state_share=0.1).decoder(10) == ModelConfig(size="2L64D").decoder(10)


@pytest.mark.parametrize("eps", [float("nan"), -1.0, 2.0])
def test_the_eps_of_a_mixer_is_bounded_too(eps: float) -> None:
    with pytest.raises(InputError, match="mixer.norm_eps = .*: must be a number from 0 to 1"):
        ModelConfig("rwkv7", "1L32D2H", mixer={"norm_eps": eps}).decoder(10)


def test_a_window_is_a_state_and_attention_without_one_has_none() -> None:
    for model, window in (("swa", 8), ("llama-rope", 0)):
        (block,) = ModelConfig(model, "2L64D", state_share=0.125).decoder(10).pattern
        assert block.mixer.arguments["window"] == window


@pytest.mark.parametrize(
    "wrong",
    [
        {"init_scale": 0.0},
        {"init_scale": -1.0},
        {"embedding_std": -0.1},
        {"state_share": 1e9},
        {"norm_eps": -1e-6},
        {"rope_base": 1e13},
    ],
)
def test_scales_are_bounded(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="must be a number from 0"):
        ModelConfig(**wrong).decoder(10)  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "eps"), [(1e-3, {1e-3}), (0.0, {1e-6, 1e-5})])
def test_the_eps_of_all_norms_is_one(given: float, eps: set[float]) -> None:
    model = ModelConfig("llama-rope,gla5,gdn-wide,mamba2-mlp", "4L64D4H", mixer={"qk_norm": True}, norm_eps=given)
    norms = [module for module in model.decoder(10).build().modules() if isinstance(module, RMSNorm)]
    assert len(norms) == 4 * 2 + 1 + 2 + 3 and {norm.eps for norm in norms} == eps


def test_the_base_reaches_what_rotates() -> None:
    base = ModelConfig("gla,llama-rope", "2L64D", rope_base=1e5).decoder(10)
    assert [block.mixer.arguments.get("rope_base") for block in base.pattern] == [None, 1e5]
    assert ModelConfig("llama-rope", "2L64D").decoder(10).pattern[0].mixer.arguments["rope_base"] == 1e4
    assert ModelConfig("gla", "2L64D", rope_base=1e5).decoder(10) == ModelConfig("gla", "2L64D").decoder(10)
