"""Words to configurations: sizes, Canon sets, presets, plugins and their errors."""

from pathlib import Path

import pytest

from canonlab.errors import InputError
from canonlab.models.canon_points import CanonConfig
from canonlab.models.presets import ModelConfig, Size

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


def test_sizes() -> None:
    assert Size.parse("8L512D") == Size(8, 512, 8)
    assert Size.parse("12L768D") == Size(12, 768, 12)
    assert Size.parse("1L32D2H") == Size(1, 32, 2)
    assert Size.parse("2L64D") == Size(2, 64, 1)


@pytest.mark.parametrize("size", ["", "8L", "L512D", "0L512D", "8L512D3H", "8l512d", "8L512DH", "8L200D"])
def test_bad_sizes(size: str) -> None:
    with pytest.raises(InputError, match="size = "):
        Size.parse(size)


def test_canon_sets_are_put_in_order() -> None:
    assert CanonConfig("DCBA").points == "ABCD"
    assert CanonConfig("none").points == CanonConfig("").points == ""
    assert CanonConfig("DbA").points == "AbD"


@pytest.mark.parametrize(
    ("points", "message"),
    [("ABX", "unknown point 'X'"), ("ac", "did you mean 'A'"), ("AA", "named twice"), ("Bb", "B replaces")],
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


def test_llama_has_no_point_b_of_its_own() -> None:
    with pytest.raises(InputError, match="Attention has no point b"):
        ModelConfig(canon="AbCD").decoder(10)


def test_a_users_mixer_is_built_with_its_arguments(tmp_path: Path) -> None:
    config = ModelConfig(model=plugin(tmp_path), size="1L32D", canon="ACD", mixer={"scale": 0.5}).decoder(10)
    config.check()
    assert config.build().blocks[0].mixer.scale == 0.5  # type: ignore[union-attr]


def test_a_mixer_without_state_trains_but_cannot_decode(tmp_path: Path) -> None:
    model = ModelConfig(model=plugin(tmp_path), size="1L32D").decoder(10).build()
    with pytest.raises(InputError, match="RunningMean has no init_state"):
        model.init_state(1, 8)


def test_point_b_needs_a_mixer_that_places_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="RunningMean has no point B"):
        ModelConfig(model=plugin(tmp_path), size="1L32D", canon="ABCD").decoder(10).check()
    placed = plugin(tmp_path, "self.canon = canon(config.width)")
    ModelConfig(model=placed, size="1L32D", canon="ABCD").decoder(10).check()


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
