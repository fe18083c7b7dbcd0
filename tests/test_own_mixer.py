"""The examples of docs/own-mixer.md are mixers that work, as they stand there."""

import dataclasses
import re
from itertools import product
from pathlib import Path

import pytest
import torch

from canonlab.models.canon_points import NoCanon
from canonlab.models.check import CHECKS, check_mixer
from canonlab.models.config import ModelConfig
from canonlab.models.generate import generate
from canonlab.models.mixers.base import Mixer
from canonlab.plugins import load_plugin
from canonlab.sweeps.recipe import load_recipe
from canonlab.training.loop import train
from canonlab.training.run import create_run
from tiny_runs import Recorder

PAGE = (Path(__file__).parents[1] / "docs" / "own-mixer.md").read_text(encoding="utf-8")
NAME, FADING = "moving_average.py:MovingAverage", "fading.py:Fading"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


SOURCES = dict(zip(("moving_average.py", "fading.py"), blocks("python"), strict=True))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the files that the page has its readers save."""
    (recipe,) = blocks("yaml")
    for name, text in {**SOURCES, "compare.yaml": recipe}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("expansion", [1, 3])
def test_it_passes_all_checks(expansion: int) -> None:
    names = [name for name in CHECKS if expansion == 1 or name != "compilation"]
    findings = check_mixer(ModelConfig(NAME, "2L32D", mixer={"expansion": expansion}), names)
    assert [check.name for check in findings.checks if not check.passed] == ["point b"]


def test_it_is_the_average_that_the_page_says() -> None:
    cls = load_plugin(NAME).cls
    torch.manual_seed(0)
    mixer: Mixer = cls(cls.Config(width=5), lambda width: NoCanon()).double()
    x = torch.randn(2, 21, 5, dtype=torch.float64)
    v, f, g = (x @ mixer.projections.weight.T).chunk(3, -1)
    a = 1 / (1 + torch.exp(-f - mixer.bias))
    mean, outputs = torch.zeros(2, 5, dtype=torch.float64), []
    for t in range(21):
        mean = a[:, t] * mean + (1 - a[:, t]) * v[:, t]
        outputs.append(mean * g[:, t] / (1 + torch.exp(-g[:, t])) @ mixer.out.weight.T)
    torch.testing.assert_close(mixer(x, None, None)[0], torch.stack(outputs, 1), rtol=0, atol=1e-15)


def test_the_recurrence_in_ten_lines_passes_all_checks() -> None:
    findings = check_mixer(ModelConfig(FADING, "2L32D2H"), CHECKS)
    assert [check.name for check in findings.checks if not check.passed] == ["point b"]


def test_the_recurrence_in_ten_lines_is_what_the_page_says() -> None:
    cls = load_plugin(FADING).cls
    torch.manual_seed(0)
    mixer: Mixer = cls(cls.Config(width=8, heads=2), lambda width: NoCanon()).double()
    x = torch.randn(2, 21, 8, dtype=torch.float64)
    q, k, v = (x @ mixer.projections.weight.T).view(2, 21, 3, 2, 4).unbind(2)
    a = 1 / (1 + torch.exp(-(x @ mixer.decay.weight.T) - mixer.bias))
    S, outputs = torch.zeros(2, 2, 4, 4, dtype=torch.float64), []
    for t in range(21):
        S = a[:, t, :, None, None] * S + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        o = torch.einsum("bhk,bhkv->bhv", q[:, t], S)
        o = o / (o.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        outputs.append(o.flatten(1) @ mixer.out.weight.T)
    torch.testing.assert_close(mixer(x, None, None)[0], torch.stack(outputs, 1), rtol=0, atol=1e-12)


def test_alone_and_in_a_hybrid_it_writes_what_it_would_without_a_cache() -> None:
    prompts = [[1, 2, 3, 4, 5], [6]]
    for model in (NAME, f"llama-rope,{NAME}"):
        decoder = ModelConfig(model, "2L32D2H", canon="ABCD").decoder(11).build().eval()
        for prompt, new in zip(prompts, generate(decoder, prompts, 6), strict=True):
            written = list(prompt)
            for _ in range(6):
                written.append(int(decoder(torch.tensor([written])).logits[0, -1].argmax()))
            assert written[len(prompt) :] == new


def test_its_recipe_trains_it_beside_attention(folder: Path) -> None:
    runs = load_recipe("compare.yaml").runs
    assert {(run.model.model, run.training.seed) for run in runs} == set(product(["llama-rope", NAME], [0, 1, 2]))
    run = next(run for run in runs if run.model.model == NAME)
    short = dataclasses.replace(run.training, steps=2, warmup=1, batch=2, final_windows=2, eval_windows=2)
    result = train(create_run(dataclasses.replace(run, training=short), folder / "run"), Recorder(), "test")
    assert result["cost"]["state_bytes"] > 0
    assert (folder / "run" / "sources" / "moving_average.py").read_text(encoding="utf-8") == SOURCES[
        "moving_average.py"
    ]
