"""`check_mixer` passes the built-in mixers, and finds what is wrong with broken ones: that, and nothing else."""

import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from canonlab.checks import Broken, run_check
from canonlab.errors import InputError
from canonlab.models.check import CHECKS, COSTS, Findings, check_mixer, chosen
from canonlab.models.check.costs import PEERS
from canonlab.models.check.subject import Subject
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import tensors_of

SIZE = "2L32D2H"

BASE = """
import random
from dataclasses import dataclass
import torch
import torch.nn.functional as F
from torch import nn
from canonlab.models.canon_points import NoCanon
from canonlab.models.mixers.gla import GLA


class Without(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def init_state(self, *arguments):
        return self.inner.init_state(*arguments)


class DetachedBranch(Without):
    def forward(self, x):
        return self.inner(x).detach()


class SegmentBlind(Without):
    def forward(self, x, segment_ids, state):
        return self.inner(x, None, state)


class DoubleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class LooksAhead(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient + gradient.roll(1, 1)


class LooksBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, where):
        ctx.where = where
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient + gradient.roll(-1, 1) * ctx.where[..., None], None


class ScaledByOneRow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return x * scale

    @staticmethod
    def backward(ctx, gradient):
        x, scale = ctx.saved_tensors
        return gradient * scale, (gradient * x)[0].sum(0)


shared = nn.Parameter(torch.ones(()))
taps = torch.ones(3)


class Broken(GLA):
    def extra(self, config, canon):
        pass

    def __init__(self, config, canon):
        super().__init__(config, canon)
        self.extra(config, canon)

    def forward(self, x, segment_ids, state):
        y, _ = super().forward(x, segment_ids, state)
        return self.spoil(y, x), state

    def spoil(self, y, x):
        return y
"""

BROKEN = {
    "an error": ("forward", "def spoil(self, y, x):\n    raise ValueError('first line\\nsecond line')"),
    "outputs alone": ("forward", "def forward(self, x, segment_ids, state):\n    return x"),
    "another shape": ("forward", "def spoil(self, y, x):\n    return y[:, 1:]"),
    "outputs of 0": ("forward", "def spoil(self, y, x):\n    return 0 * y"),
    "a changed input": ("forward", "def spoil(self, y, x):\n    return x.add_(y)"),
    "noise": ("forward", "def spoil(self, y, x):\n    return y + torch.randn_like(y)"),
    "infinite outputs": ("forward", "def spoil(self, y, x):\n    return y / 0"),
    "randomness from elsewhere": (
        "initialisation",
        """
        def extra(self, config, canon):
            self.scale = nn.Parameter(torch.tensor(random.SystemRandom().random()))

        def spoil(self, y, x):
            return y + self.scale * x
        """,
    ),
    "late parameters": (
        "initialisation",
        """
        def spoil(self, y, x):
            if not hasattr(self, "scale"):
                self.scale = nn.Parameter(torch.ones((), dtype=x.dtype))
            return y + self.scale * x
        """,
    ),
    "a parameter that layers share": (
        "initialisation",
        """
        def extra(self, config, canon):
            self.scale = shared

        def spoil(self, y, x):
            return y + self.scale * x
        """,
    ),
    "a tensor beside the class": (
        "initialisation",
        """
        def extra(self, config, canon):
            self.scale = nn.Parameter(torch.arange(3) * taps)

        def spoil(self, y, x):
            return y + self.scale.sum() * x
        """,
    ),
    "a value that the constructor reads": (
        "initialisation",
        """
        def extra(self, config, canon):
            self.scale = nn.Parameter(torch.rand(2))
            self.scale.data.mul_(self.scale.sum().item())

        def spoil(self, y, x):
            return y + self.scale.sum() * x
        """,
    ),
    "a mean over the batch": ("batch independence", "def spoil(self, y, x):\n    return y + x.mean(0)"),
    "batch statistics": (
        "batch independence",
        """
        def extra(self, config, canon):
            self.batch_norm = nn.BatchNorm1d(config.width)

        def spoil(self, y, x):
            return self.batch_norm(y.flatten(0, 1)).view_as(y)
        """,
    ),
    "a look ahead": ("causality", "def spoil(self, y, x):\n    return y + x.roll(-1, 1)"),
    "a mean over time": ("causality", "def spoil(self, y, x):\n    return y + 0.01 * x.mean(1, keepdim=True)"),
    "lengths of whole chunks": (
        "any length",
        """
        def spoil(self, y, x):
            if y.shape[1] % 64:
                raise ValueError("time must be a multiple of 64")
            return y
        """,
    ),
    "the last tokens left out": (
        "any length",
        """
        def spoil(self, y, x):
            whole = y.shape[1] // 2 * 2
            return F.pad(y[:, :whole], (0, 0, 0, y.shape[1] - whole))
        """,
    ),
    "segments ignored": (
        "segments",
        "def forward(self, x, segment_ids, state):\n    return super().forward(x, None, state)",
    ),
    "segments ignored by Canon": (
        "segments",
        """
        def extra(self, config, canon):
            self.canon = SegmentBlind(self.canon)
        """,
    ),
    "padding that is the first segment": (
        "padding",
        """
        def forward(self, x, segment_ids, state):
            return super().forward(x, None if segment_ids is None else segment_ids.clamp(min=0), state)
        """,
    ),
    "large numbers in one row's padding that are seen": (
        "padding",
        """
        def forward(self, x, segment_ids, state):
            y, _ = super().forward(x, segment_ids, state)
            if segment_ids is not None:
                leaks = ((segment_ids < 0).sum(1) == 5)[:, None, None]
                y = y + leaks * F.relu(x[:, :5].abs() - 6).sum(1, keepdim=True)
            return y, state
        """,
    ),
    "NaN at padding": (
        "padding",
        """
        def forward(self, x, segment_ids, state):
            y, _ = super().forward(x, segment_ids, state)
            return y if segment_ids is None else y.masked_fill((segment_ids < 0)[..., None], torch.nan), state
        """,
    ),
    "NaN in gradients at padding": (
        "padding",
        """
        def forward(self, x, segment_ids, state):
            y, _ = super().forward(x, segment_ids, state)
            if segment_ids is not None:
                padding = (segment_ids < 0)[..., None]
                y = y + (y / ~padding).masked_fill(padding, 0) - y.masked_fill(padding, 0)
            return y, state
        """,
    ),
    "Canon B dropped": ("point B", "def extra(self, config, canon):\n    self.canon = NoCanon()"),
    "Canon B twice": ("point B", "def extra(self, config, canon):\n    self.second = canon(config.width)"),
    "conv1d without a convolution": ("point b", "def extra(self, config, canon):\n    self.conv = NoCanon()"),
    "NaN in bfloat16": (
        "dtypes",
        "def spoil(self, y, x):\n    return y + 0 * (1e9 * y).half() if torch.is_autocast_enabled('cpu') else y",
    ),
    "imprecise in bfloat16": (
        "dtypes",
        """
        def spoil(self, y, x):
            return (100 + y) - 100 if y.dtype == torch.bfloat16 else y
        """,
    ),
    "single precision only": (
        "dtypes",
        "def forward(self, x, segment_ids, state):\n    return super().forward(x.float(), segment_ids, state)",
    ),
    "single precision inside": ("dtypes", "def spoil(self, y, x):\n    return y.float().to(y.dtype)"),
    "outputs of one dtype": ("dtypes", "def spoil(self, y, x):\n    return y.float()"),
    "gradients that are NaN": ("dtypes", "def spoil(self, y, x):\n    return y + torch.sqrt(0 * x)"),
    "a detached branch": (
        "gradients",
        """
        def extra(self, config, canon):
            self.decay = DetachedBranch(self.decay)
        """,
    ),
    "no gradient at all": ("gradients", "def spoil(self, y, x):\n    return y.detach()"),
    "a wrong backward": ("gradients", "def spoil(self, y, x):\n    return DoubleGradient.apply(y)"),
    "a parameter without influence": (
        "gradients",
        "def extra(self, config, canon):\n    self.unused = nn.Parameter(torch.ones(3))",
    ),
    "a backward that looks ahead": ("causal gradients", "def spoil(self, y, x):\n    return LooksAhead.apply(y)"),
    "weight gradients of one row of segments": (
        "segment gradients",
        """
        def extra(self, config, canon):
            self.scale = nn.Parameter(torch.ones(config.width))

        def forward(self, x, segment_ids, state):
            y, _ = super().forward(x, segment_ids, state)
            return y * self.scale if segment_ids is None else ScaledByOneRow.apply(y, self.scale), state
        """,
    ),
    "gradients for the segment before": (
        "segment gradients",
        """
        def forward(self, x, segment_ids, state):
            if segment_ids is not None:
                x = LooksBack.apply(x, (segment_ids != segment_ids.roll(-1, 1)) & (segment_ids >= 0))
            return super().forward(x, segment_ids, state)
        """,
    ),
    "other gradients in padded rows": (
        "padding gradients",
        """
        def forward(self, x, segment_ids, state):
            y, _ = super().forward(x, segment_ids, state)
            if segment_ids is not None:
                y = torch.where((segment_ids[:, :1] < 0)[..., None], DoubleGradient.apply(y), y)
            return y, state
        """,
    ),
    "gradients for padding": (
        "padding gradients",
        """
        def forward(self, x, segment_ids, state):
            x = x if segment_ids is None else LooksBack.apply(x, segment_ids < 0)
            return super().forward(x, segment_ids, state)
        """,
    ),
    "other gradients in calls that are shorter than a convolution": (
        "state gradients",
        """
        def forward(self, x, segment_ids, state):
            x = DoubleGradient.apply(x) if state is not None and x.shape[1] < 3 else x
            return super().forward(x, segment_ids, state)
        """,
    ),
    "no gradients of a parameter in calls with a state": (
        "state gradients",
        """
        def extra(self, config, canon):
            self.scale = nn.Parameter(torch.ones(config.width))

        def forward(self, x, segment_ids, state):
            y, _ = super().forward(x, segment_ids, state)
            return y * (self.scale if state is None else self.scale.detach()), state
        """,
    ),
    "a state that grows": (
        "state",
        """
        def init_state(self, batch, max_len, dtype, device):
            return super().init_state(batch, max_len, dtype, device) | {"past": torch.zeros(batch, 0, 32)}

        def forward(self, x, segment_ids, state):
            y, _ = super().forward(x, segment_ids, state)
            if state is not None:
                state["past"] = torch.cat([state["past"], x], 1)
            return y, state
        """,
    ),
    "a state that is replaced": (
        "state",
        """
        def forward(self, x, segment_ids, state):
            y, _ = super().forward(x, segment_ids, state)
            return y, None if state is None else dict(state)
        """,
    ),
    "tensors that are replaced": (
        "state",
        """
        def forward(self, x, segment_ids, state):
            y, _ = super().forward(x, segment_ids, state)
            if state is not None:
                state["S"] = state["S"].clone()
            return y, state
        """,
    ),
    "a state without a batch": (
        "state",
        """
        def init_state(self, batch, max_len, dtype, device):
            return super().init_state(batch, max_len, dtype, device) | {"count": torch.zeros(())}
        """,
    ),
    "a state with the batch second": (
        "state",
        """
        def init_state(self, batch, max_len, dtype, device):
            return super().init_state(batch, max_len, dtype, device) | {"past": torch.zeros(3, batch)}
        """,
    ),
    "a state that isn't all tensors": (
        "state",
        """
        def init_state(self, batch, max_len, dtype, device):
            return super().init_state(batch, max_len, dtype, device) | {"count": 0}
        """,
    ),
    "a forgotten state": (
        "chunks",
        "def forward(self, x, segment_ids, state):\n    return super().forward(x, segment_ids, None)[0], state",
    ),
    "a state that goes on in the next segment": (
        "chunks",
        """
        def forward(self, x, segment_ids, state):
            if state is not None:
                state["segment"].copy_(torch.zeros(len(x)) if segment_ids is None else segment_ids[:, 0])
            return super().forward(x, segment_ids, state)
        """,
    ),
    "a Canon layer without its state": (
        "chunks",
        """
        def forward(self, x, segment_ids, state):
            from canonlab.models.decoder import tensors_of

            if state is not None:
                for tensor in tensors_of([state["canon"]]):
                    tensor.fill_(-1)
            return super().forward(x, segment_ids, state)
        """,
    ),
    "a step that differs": (
        "steps",
        """
        def forward(self, x, segment_ids, state):
            y, _ = super().forward(x, segment_ids, state)
            return y if state is None or x.shape[1] > 1 else 1.001 * y, state
        """,
    ),
    "no ids that aren't segment 0": (
        "steps",
        """
        def forward(self, x, segment_ids, state):
            if segment_ids is None:
                segment_ids = torch.full(x.shape[:2], 5)
            return super().forward(x, segment_ids, state)
        """,
    ),
    "a memory in the module": (
        "reordering",
        """
        def init_state(self, *arguments):
            self.kept = None
            return super().init_state(*arguments)

        def forward(self, x, segment_ids, state):
            if state is None:
                return super().forward(x, segment_ids, state)
            if self.kept is not None:
                state["S"].copy_(self.kept)
            y, _ = super().forward(x, segment_ids, state)
            self.kept = state["S"].clone()
            return y, state
        """,
    ),
    "a memory in the class": (
        "in a decoder",
        """
        def init_state(self, batch, *arguments):
            type(self).last = torch.full((batch,), -1)
            return super().init_state(batch, *arguments)

        def forward(self, x, segment_ids, state):
            if state is None:
                return super().forward(x, segment_ids, state)
            state["segment"].copy_(type(self).last)
            y, _ = super().forward(x, segment_ids, state)
            type(self).last = state["segment"].clone()
            return y, state
        """,
    ),
    "a graph that gives something else": (
        "compilation",
        "def spoil(self, y, x):\n    return 1.01 * y if torch.compiler.is_compiling() else y",
    ),
    "a graph that breaks, and gives something else": (
        "compilation",
        """
        def spoil(self, y, x):
            torch._dynamo.graph_break()
            return 1.01 * y if torch.compiler.is_compiling() else y
        """,
    ),
}

EAGER = {
    "def spoil(self, y, x):\n    torch._dynamo.graph_break()\n    return y": "graph_break",
    "def spoil(self, y, x):\n    return 2 * y if x.sum() > 9 else y": "Data-dependent",
    "def spoil(self, y, x):\n    return y * (1 + 0 * x.sum().item())": "between which a value leaves",
    "def spoil(self, y, x):\n    self.calls = 1 + getattr(self, 'calls', 0)\n    return y + 0 * self.calls": "anew",
    "def spoil(self, y, x):\n    return torch.cat([2 * part for part in y.split(2, 1)], 1)": "operations for",
}
"""Mixers that are right and aren't one graph that scales, and what is said of them."""

SLOW = "compilation"
"""What takes a second."""


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Findings]:
    def run(body: str, *names: str) -> Findings:
        file = tmp_path / "broken.py"
        file.write_text(BASE + textwrap.indent(textwrap.dedent(body), "    "), encoding="utf-8")
        return check_mixer(ModelConfig(f"{file}:Broken", SIZE), names)

    return run


QUICK = [name for name in CHECKS if name != SLOW]


def test_nothing_is_wrong_with_what_the_broken_ones_derive_from(check: Callable[..., Findings]) -> None:
    assert [found for found in check("", *CHECKS).checks if found.passed is not True] == []


@pytest.mark.parametrize("what", BROKEN)
def test_broken_mixers_are_caught(what: str, check: Callable[..., Findings]) -> None:
    name, body = BROKEN[what]
    findings = check(body, name)
    (found,) = findings.checks
    assert findings.failed and found.passed is False and found.seen and found.advice, found
    assert "\n" not in found.seen


@pytest.mark.slow
@pytest.mark.parametrize("what", BROKEN)
def test_broken_mixers_fail_nowhere_else(what: str, check: Callable[..., Findings]) -> None:
    name, body = BROKEN[what]
    findings = check(body, *CHECKS)
    assert [found.name for found in findings.checks if found.passed is False] == [name]
    for found in findings.checks:
        if found.passed is None:
            assert found.seen.startswith("rests on") and found.advice.startswith("repair")


@pytest.mark.parametrize("body", EAGER)
def test_a_mixer_that_only_trains_eagerly_passes_with_a_note(body: str, check: Callable[..., Findings]) -> None:
    findings = check(body, "compilation")
    (found,) = findings.checks
    assert not findings.failed and found.passed is None
    assert "eager" in found.seen and EAGER[body] in found.seen and "--compile off" in found.advice


def test_every_check_has_a_mixer_that_fails_it() -> None:
    assert {name for name, _ in BROKEN.values()} == set(CHECKS)


def test_what_is_broken_is_named(check: Callable[..., Findings]) -> None:
    for what, words in {
        "an error": "ValueError: first line",
        "segments ignored by Canon": "with Canon point B, segment 1 (1 tokens) packed and alone: differs by",
        "batch statistics": "in training, row 0 alone and in a batch: differs by",
        "lengths of whole chunks": "1 tokens: ValueError: time must be a multiple of 64",
        "a state with the batch second": "state past is (3, 3) for 3 rows and (3, 5) for 5",
    }.items():
        name, body = BROKEN[what]
        assert check(body, name).checks[0].seen.startswith(words)


def test_what_rests_on_a_broken_promise_is_not_checked(check: Callable[..., Findings]) -> None:
    findings = check(BROKEN["a look ahead"][1], "forward", "causality", "any length", "segments", "point B")
    assert [found.passed for found in findings.checks] == [True, False, None, None, True]
    assert findings.checks[3] == ("segments", None, "rests on 'any length'", "repair 'causality' first")


def test_attention_passes() -> None:
    findings = check_mixer(ModelConfig("llama-rope", SIZE), QUICK)
    assert [found.name for found in findings.checks if not found.passed] == ["point b"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        *("llama-nope", "llama-rope-quarter", "llama-alibi", "llama-halibi", "llama-gated", "swa", "mla", "gla5"),
        *("mamba2", "mamba3", "gdn", "gdn-wide", "gdn2", "kda", "deltaproduct", "rwkv7"),
    ],
)
def test_presets_pass(model: str) -> None:
    findings = check_mixer(ModelConfig(model, "2L64D2H"), CHECKS)
    assert [found for found in findings.checks if not found.passed and found.name != "point b"] == []


def test_arguments_of_the_mixer_are_those_that_are_checked() -> None:
    findings = check_mixer(ModelConfig("llama-rope", SIZE, mixer={"kv_heads": 1}), ["point B"])
    assert findings.checks[0].seen == "width 64 for a model of width 32"


PLAIN = '''
from dataclasses import dataclass
import torch
from canonlab.models.mixers.base import Mixer


class Mean(Mixer):
    """y_t = mean of x_1 .. x_t, by products with a mask."""

    @dataclass(frozen=True)
    class Config:
        width: int

    def __init__(self, config, canon):
        super().__init__()
        self.out = torch.nn.Linear(config.width, config.width)

    def forward(self, x, segment_ids, state):
        seen = torch.ones(x.shape[1], x.shape[1], dtype=x.dtype, device=x.device).tril()
        if segment_ids is not None:
            seen = seen * (segment_ids[:, None] == segment_ids[:, :, None])
        return self.out(seen @ x / seen.sum(-1, keepdim=True)), state
'''


def test_a_mixer_without_state_and_canon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("canonlab.models.check.costs.SECONDS", 0.01)
    (tmp_path / "mean.py").write_text(PLAIN)
    findings = check_mixer(ModelConfig(f"{tmp_path}/mean.py:Mean", SIZE), [*QUICK, COSTS])
    unchecked = {check.name: check.seen for check in findings.checks if check.passed is None}
    assert not findings.failed
    for name in ("state", "chunks", "steps", "state gradients", "reordering", "in a decoder"):
        assert unchecked.pop(name) == "no init_state; trains, cannot decode with a cache"
    assert list(unchecked) == ["point B", "point b"] and "canon(width)" in unchecked["point B"]
    row = findings.costs[0]
    assert row["training_tokens_per_second"] > 0 and row["decoding_tokens_per_second"] is None
    assert "decoding" not in findings.checks[-1].seen


ASKING = """
def __init__(self, config, canon, place):
    super().__init__(config, canon)
    self.first = place.nth == 0
    self.scale = nn.Parameter(torch.full((config.width,), (1.0 + place.layer) / place.layers))

def forward(self, x, segment_ids, state, shared, positions):
    y, _ = super().forward(x, segment_ids, state)
    y = self.scale * y * torch.cos(positions)[..., None].to(y.dtype)
    if self.first:
        shared["x"] = x
    else:
        y = y + x * shared["x"]
    return y, state
"""


def test_a_mixer_that_asks_for_more_than_its_input(check: Callable[..., Findings]) -> None:
    findings = check(ASKING, *QUICK)
    assert [found for found in findings.checks if found.passed is not True] == []
    seen = {found.name: found.seen for found in findings.checks}
    plain = {found.name: found.seen for found in check("", "point B", "point b", "state").checks}
    assert {name: seen[name] for name in plain} == plain, "costs are those of one block"
    for after, name in {
        ASKING.replace('x * shared["x"]', 'x * shared["x"].roll(-1, 1)'): "causality",
        ASKING.replace("self.first = place.nth == 0", "self.first, self.bias = not place.nth, None"): None,
        ASKING.replace("torch.cos(positions)", "torch.arange(x.shape[1])[None]"): "segments",
        ASKING.replace("return y, state", "return y, state and dict(state)"): "state",
    }.items():
        assert [found.name for found in check(after, *QUICK).checks if found.passed is False] == [name][: bool(name)]


def test_a_state_that_gradients_need_and_that_is_written_to(check: Callable[..., Findings]) -> None:
    """PyTorch refuses such a gradient, so that nothing is wrong: it can't be had."""
    body = """
    def forward(self, x, segment_ids, state):
        y, _ = super().forward(x, segment_ids, state)
        if state is not None:
            y = y + y * 0 * {}.flatten(1)[:, None, :1]
            state["S"].add_(0)
        return y, state
    """
    read, copied = (check(body.format(f'state["S"]{how}'), "state gradients") for how in ("", ".clone()"))
    assert not read.failed and read.checks[0].passed is None and "clone()" in read.checks[0].advice
    assert copied.checks[0].passed


def test_zeros_that_are_right_are_no_difference(check: Callable[..., Findings]) -> None:
    """Of the first token, where a mixer sees only those before it; of a bias that changes nothing but roundings."""
    body = """
    def extra(self, config, canon):
        self.bias = nn.Parameter(torch.randn(config.width))

    def forward(self, x, segment_ids, state):
        ids = torch.zeros_like(x[..., 0]) if segment_ids is None else segment_ids
        first = ids != F.pad(ids[:, :-1], (1, 0), value=-2)
        return x.roll(1, 1).masked_fill(first[..., None], 0) * self.bias.softmax(0).sum(), None
    """
    names = ["any length", "segments", "padding", "segment gradients", "padding gradients", "compilation"]
    assert [found for found in check(body, *names).checks if not found.passed] == []


def test_complex_parameters_are_differentiated_too(check: Callable[..., Findings]) -> None:
    body = """
    def extra(self, config, canon):
        self.turn = nn.Parameter(torch.polar(torch.ones(config.width), torch.rand(config.width)))

    def spoil(self, y, x):
        return (y * {}).imag
    """
    assert [found.passed for found in check(body.format("self.turn"), "dtypes", "gradients").checks] == [True, True]
    failed = check(body.format("(self.turn + self.turn.detach())"), "gradients").checks[0]
    assert failed.passed is False and "turn" in failed.seen


def test_a_config_that_fails(tmp_path: Path) -> None:
    (tmp_path / "mean.py").write_text(PLAIN.replace("width: int\n", "width: int\n        decay: float\n"))
    with pytest.raises(InputError, match="its Config can't be made .TypeError.*'decay'"):
        check_mixer(ModelConfig(f"{tmp_path}/mean.py:Mean", SIZE))


def test_costs_beside_built_in_mixers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("canonlab.models.check.costs.SECONDS", 0.01)
    findings = check_mixer(ModelConfig("gla", "1L32D2H"), [COSTS])
    assert findings.checks[0].passed and "x llama-rope" in findings.checks[0].seen
    assert [row["model"] for row in findings.costs] == ["gla", *(name for name in PEERS if name != "gla")]
    for row in findings.costs:
        assert row["training_tokens_per_second"] > 0 and row["decoding_tokens_per_second"] > 0
        assert row["state_bytes_per_layer"] > 0 and row["flops_per_token"] > 0


def test_costs_that_cannot_be_counted(check: Callable[..., Findings]) -> None:
    body = "def spoil(self, y, x):\n    raise RuntimeError('on no device')"
    findings = check(body, COSTS)
    assert findings.failed and findings.costs == [] and "on no device" in findings.checks[0].seen


def test_costs_of_a_mixer_whose_kernel_needs_memory(
    check: Callable[..., Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canonlab.models.check.costs.SECONDS", 0.01)
    findings = check("def spoil(self, y, x):\n    return y * float(x[0, 0, 0] < 99)", COSTS)
    assert not findings.failed and findings.costs[0]["flops_per_token"] > 0


def test_bad_input() -> None:
    for model, words in [
        (ModelConfig("llama-rope,gla"), "one mixer at a time"),
        (ModelConfig("gla", mixer={"head": 2}), "did you mean 'heads'"),
        (ModelConfig("gla", "2L64D", mixer={"heads": 3}), "multiple of the 3 heads"),
    ]:
        with pytest.raises(InputError, match=words):
            check_mixer(model)
    for names in (partial(check_mixer, ModelConfig("gla", SIZE)), chosen, partial(chosen, ())):
        with pytest.raises(InputError, match="did you mean 'causality'"):
            names(["causalty"])
    with pytest.raises(InputError, match="leave no check"):
        chosen(["segments"], ["segments"])


def test_checks_can_be_chosen() -> None:
    every = (*CHECKS, COSTS)
    assert chosen() == every
    assert chosen(["steps", "any length", "steps"]) == ("any length", "steps")
    assert chosen(skip=[COSTS, "forward"]) == every[1:-1]
    assert chosen(["steps", "any length"], ["steps"]) == ("any length",)


def test_what_isnt_chosen_counts_as_kept(check: Callable[..., Findings]) -> None:
    findings = check(BROKEN["a look ahead"][1], *chosen(["point B", "gradients"]))
    assert [(found.name, found.passed) for found in findings.checks] == [("point B", True), ("gradients", True)]


def test_what_a_check_makes_of_errors() -> None:
    def broken(passed: bool | None) -> Callable[[], str]:
        def promise() -> str:
            raise Broken("this", "do that", passed)

        return promise

    def empty() -> str:
        raise KeyError

    assert run_check("a", lambda: "fine", "task") == ("a", True, "fine", "")
    assert run_check("a", broken(False), "task") == ("a", False, "this", "do that")
    assert run_check("a", broken(None), "task").passed is None
    assert run_check("a", empty, "task") == ("a", False, "KeyError", "find out why the task raised this")


def test_the_device_reaches_all_that_a_mixer_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, hidden states, segments and the state; on a device without memory, where nothing can be compared."""
    seen = []
    monkeypatch.setattr(Subject, "dtype", torch.float32)
    subject = Subject.of(ModelConfig("gla", SIZE), "meta")
    for point in subject.points:
        mixer = subject.build(point)
        seen += [*mixer.parameters(), *tensors_of(subject.state(mixer, 2, 9))]
    seen += [subject.tokens(), subject.packed_segments(), subject.padded_segments((1, 2))]
    assert {tensor.device.type for tensor in seen} == {"meta"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", ["llama-rope", "gla", "mamba2", "gdn"])
def test_presets_pass_on_a_gpu(model: str) -> None:
    findings = check_mixer(ModelConfig(model, "2L64D2H"), [*CHECKS, COSTS], "cuda")
    assert [found for found in findings.checks if not found.passed and found.name != "point b"] == []
    assert findings.costs[0]["training_tokens_per_second"] > 0
