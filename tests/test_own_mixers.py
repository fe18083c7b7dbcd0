"""Three published mixers as a user would write them, a file each: the public contract suffices, and is kept."""

import ast
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from canonlab.errors import Interrupted
from canonlab.models.canon_points import NoCanon
from canonlab.models.check import CHECKS, check_mixer
from canonlab.models.config import ModelConfig
from canonlab.models.generate import generate
from canonlab.models.mixers.base import Mixer, Place
from canonlab.plugins import load_plugin
from canonlab.training.loop import train
from canonlab.training.optimizer import decay_groups
from canonlab.training.run import create_run, open_run
from tiny_runs import Recorder, tiny_config

FOLDER = Path(__file__).parent / "own_mixers"
CLASSES = {"rwkv7": "RWKV7", "deltaproduct": "DeltaProduct", "hgrn2": "HGRN2"}
NAMES = {name: f"{FOLDER / name}.py:{cls}" for name, cls in CLASSES.items()}
PUBLIC = {
    *("dataclasses", "math", "torch", "torch.nn", "torch.nn.functional", "canonlab.canon"),
    *(f"canonlab.models.{name}" for name in ("layers", "mixers.base", "mixers.linear", "mixers.recurrence")),
}
"""What the page for users names."""

WIDTH, HEADS, HEAD, TIME = 8, 2, 4, 11

all_of_them = pytest.mark.parametrize("name", NAMES)


def test_each_file_is_among_them() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(NAMES)


@all_of_them
def test_a_hundred_lines_and_the_public_contract_are_enough(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported <= PUBLIC


@all_of_them
def test_it_passes_all_checks(name: str) -> None:
    findings = check_mixer(ModelConfig(NAMES[name], "2L16D2H"), [check for check in CHECKS if check != "compilation"])
    unmet = [check.name for check in findings.checks if not check.passed]
    assert unmet == ([] if name == "deltaproduct" else ["point b"])


@pytest.mark.slow
@all_of_them
def test_it_compiles(name: str) -> None:
    (check,) = check_mixer(ModelConfig(NAMES[name], "2L16D2H"), ["compilation"]).checks
    assert check.passed and check.seen.startswith("one graph")


@all_of_them
def test_it_trains_and_resumes_to_the_same_bits(name: str, tmp_path: Path) -> None:
    config = replace(tiny_config(lr=0.02), model=ModelConfig(NAMES[name], "2L16D2H", "ABCD"))
    listener = Recorder()
    whole = train(create_run(config, tmp_path / "whole"), listener)
    losses = [record["loss"] for record in listener.records if record["kind"] == "train"]
    assert losses[-1] < losses[0] - 0.1

    def interrupt(record: dict[str, Any]) -> None:
        if record["step"] == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(create_run(config, tmp_path / "again"), Recorder(interrupt))
    assert train(open_run(tmp_path / "again"), Recorder())["weights_sha256"] == whole["weights_sha256"]


@all_of_them
@pytest.mark.parametrize("before", ["", "llama-rope,"])
def test_it_writes_with_a_cache_what_it_would_without(name: str, before: str) -> None:
    prompts = [[1, 2, 3, 4, 5], [6]]
    decoder = ModelConfig(before + NAMES[name], "4L16D2H", canon="ABCD").decoder(11).build().eval()
    draw(decoder)
    for prompt, new in zip(prompts, generate(decoder, prompts, 6), strict=True):
        written = list(prompt)
        for _ in range(6):
            written.append(int(decoder(torch.tensor([written])).logits[0, -1].argmax()))
        assert written[len(prompt) :] == new


def draw(module: torch.nn.Module) -> None:
    """Parameters that begin as zeros, at random."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)


def build(name: str, layer: int) -> Any:
    """The mixer of one of three blocks, in double precision."""
    cls = load_plugin(NAMES[name]).cls
    torch.manual_seed(layer)
    more = {} if name == "deltaproduct" else {"place": Place(layer, 3, layer)}
    mixer: Mixer = cls(cls.Config(width=WIDTH, heads=HEADS), lambda width: NoCanon(), **more).double()
    draw(mixer)
    return mixer


def inputs() -> Tensor:
    return torch.randn(2, TIME, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def row_by_row(step: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.stack([step(row) for row in x])


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("layer", [0, 2])
def test_rwkv7_is_what_the_paper_says(layer: int) -> None:
    """Token by token and head by head, the state as the paper has it: a row for each value, S k = v."""
    mixer, x = build("rwkv7", layer), inputs()
    first = torch.randn_like(x)

    def of(row: Tensor, first: Tensor) -> Tensor:
        S, outputs = [torch.zeros(HEAD, HEAD, dtype=row.dtype)] * HEADS, []
        for t in range(TIME):
            last = row[t - 1] if t else torch.zeros_like(row[0])
            x_r, x_k, x_v, x_w, x_a, x_g = (row[t] + (last - row[t]) * mu for mu in mixer.earlier)
            r, k, v = (m.weight @ part for m, part in ((mixer.r, x_r), (mixer.k, x_k), (mixer.v, x_v)))
            w1, w2 = mixer.decay[0].weight, mixer.decay[2]
            w = torch.exp(-torch.exp(-F.softplus(-(w2.bias + w2.weight @ torch.tanh(w1 @ x_w))) - 0.5))
            a = 1 / (1 + torch.exp(-(mixer.rate[2].bias + mixer.rate[2].weight @ (mixer.rate[0].weight @ x_a))))
            if layer:
                up, down = mixer.blend[2], mixer.blend[0].weight
                v = torch.lerp(v, first[t], torch.sigmoid(up.bias + up.weight @ (down @ x_v)))
            removal, k = k * mixer.remove, k * (1 - mixer.replace + a * mixer.replace)
            heads = []
            for h in range(HEADS):
                i = slice(h * HEAD, (h + 1) * HEAD)
                u = removal[i] / removal[i].norm()
                S[h] = S[h] @ (torch.diag(w[i]) - torch.outer(u, a[i] * u)) + torch.outer(v[i], k[i])
                o = S[h] @ r[i]
                o = (o - o.mean()) / torch.sqrt(o.var(correction=0) + 1e-5 * HEAD)
                o = o * mixer.norm.weight[i] + mixer.norm.bias[i]
                heads.append(o + (r[i] * k[i] * mixer.bonus[i]).sum() * v[i])
            gate = mixer.gate[2].weight @ torch.sigmoid(mixer.gate[0].weight @ x_g)
            outputs.append(mixer.out.weight @ (torch.cat(heads) * gate))
        return torch.stack(outputs)

    shared = {"rwkv7.v": first} if layer else {}
    y, _ = mixer(x, None, None, shared)
    same(y, torch.stack([of(row, values) for row, values in zip(x, first, strict=True)]))


def test_rwkv7_begins_by_depth_and_its_decays_learn_twice_as_fast() -> None:
    first, last = build("rwkv7", 0), build("rwkv7", 2)
    channel = torch.arange(WIDTH, dtype=torch.float64)
    torch.testing.assert_close(first.earlier[0].detach(), 1 - (channel / WIDTH) ** 0.2, rtol=0, atol=1e-6)
    torch.testing.assert_close(last.earlier[3].detach(), 1 - (channel / WIDTH) ** 0.3, rtol=0, atol=1e-6)
    ends = torch.tensor([-6 + 0.5 - 2.5, 0.5 + 2.5]).double()  # of the decays' biases: the slowest, the fastest
    torch.testing.assert_close(first.decay[2].bias.detach()[[0, -1]], ends, rtol=0, atol=1e-6)
    assert first.blend is None and first.norm.weight[0].item() == pytest.approx((1 / 3) ** 0.7)
    factors = {
        id(parameter): (group.get("rate_factor", 1.0), group["weight_decay"])
        for group in decay_groups(last, 0.1)
        for parameter in group["params"]
    }
    assert factors.pop(id(last.decay[2].bias)) == (2.0, 0.0)
    decaying = {id(last.get_submodule(name).weight) for name in ("r", "k", "v", "out")}
    assert {key for key, each in factors.items() if each == (1.0, 0.1)} == decaying
    assert {factor for factor, _ in factors.values()} == {1.0}


@pytest.mark.parametrize("layer", [0, 2])
def test_hgrn2_is_what_the_paper_says(layer: int) -> None:
    mixer, x = build("hgrn2", layer), inputs()
    bound = torch.full((WIDTH,), layer / 3, dtype=torch.float64)
    if layer:
        torch.testing.assert_close(mixer.bound.sigmoid(), bound, rtol=0, atol=1e-6)
        bound = mixer.bound.sigmoid()

    def of(row: Tensor) -> Tensor:
        S, outputs = torch.zeros(HEADS, HEAD, HEAD, dtype=row.dtype), []
        for x_t in row:
            q, f, i = (mixer.qfi.weight @ x_t).chunk(3)
            f = bound + (1 - bound) / (1 + torch.exp(-f))
            q, f, i = (q / (1 + torch.exp(-q))).view(HEADS, HEAD), f.view(HEADS, HEAD), i.view(HEADS, HEAD)
            S = f[:, :, None] * S + (1 - f)[:, :, None] * i[:, None]
            o = torch.einsum("hk,hkv->hv", q, S).flatten()
            outputs.append(mixer.out.weight @ (o / torch.sqrt(o.square().mean() + 1e-5) * mixer.norm.weight))
        return torch.stack(outputs)

    same(mixer(x, None, None)[0], row_by_row(of, x))


def test_deltaproduct_is_what_the_paper_says() -> None:
    mixer, x = build("deltaproduct", 0), inputs()

    def of(row: Tensor) -> Tensor:
        S, outputs = [torch.zeros(HEAD, HEAD, dtype=row.dtype)] * HEADS, []
        padded = F.pad(row @ mixer.qkv.weight.T, (0, 0, 3, 0))
        for t in range(TIME):
            taps = mixer.conv.conv.weight
            mixed = F.silu(sum(taps[j] * padded[t + 3 - j] for j in range(4)))
            q, k, v = mixed[:WIDTH].view(HEADS, HEAD), *mixed[WIDTH:].view(2, 2, HEADS, HEAD)
            beta = 2 * torch.sigmoid(mixer.beta.weight @ row[t]).view(2, HEADS)
            a = torch.exp(-mixer.rate.exp() * F.softplus(mixer.step.weight @ row[t] + mixer.step_bias))
            heads = []
            for h in range(HEADS):
                S[h] = a[h] * S[h]
                for n in range(2):
                    u = k[n, h] / k[n, h].norm()
                    reflected = torch.eye(HEAD, dtype=row.dtype) - beta[n, h] * torch.outer(u, u)
                    S[h] = reflected @ S[h] + beta[n, h] * torch.outer(u, v[n, h])
                o = S[h].T @ (q[h] / q[h].norm())
                heads.append(o / torch.sqrt(o.square().mean() + 1e-5) * mixer.norm.weight)
            outputs.append(mixer.out.weight @ (torch.cat(heads) * F.silu(mixer.gate.weight @ row[t])))
        return torch.stack(outputs)

    same(mixer(x, None, None)[0], row_by_row(of, x))
