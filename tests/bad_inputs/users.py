"""Files of a user's own: tasks and mixers that don't load, don't fit, raise, exit, or answer with something else."""

from collections.abc import Iterator

from bad_inputs.case import TINY, Bad, written

TASK = """
import dataclasses, sys
import numpy as np
import torch
from canonlab.tasks.base import Evaluation, Task, Token, Vocabulary
from canonlab.tasks.copy import Copy
from canonlab.tasks.metrics import Metric, share


@dataclasses.dataclass(frozen=True)
class Mine(Copy):
    name = "mine"
    N: int = 6
    context: int = 28
"""

MIXER = """
import sys
from dataclasses import dataclass
import torch
from canonlab.models.mixers.base import Mixer


class Mine(Mixer):
    @dataclass(frozen=True)
    class Config:
        width: int

    def __init__(self, config, canon):
        super().__init__()
        self.out = torch.nn.Linear(config.width, config.width)

    def forward(self, x, segment_ids, state):
        return self.out(x), state
"""

MODULES = {
    "": "no class",
    "x = 3\n": "no class",
    "class Other: pass\n": "Mine",
    "Mine = 3\n": "no class",
    "def Mine(): pass\n": "no class",
    "class Mine: pass\n": "Mine",
    "class mine: pass\n": "did you mean 'mine'",
    "this is no Python\n": "SyntaxError",
    "class Mine(\n": "SyntaxError",
    "\tx = 3\n  y = 4\n": "Error",
    "import nothing_of_that_name\n": "nothing_of_that_name",
    "from canonlab.tasks.copy import Nope\n": "Nope",
    "raise ValueError('on purpose')\n": "on purpose",
    "raise BaseException('on purpose')\n": "on purpose",
    "import sys\nsys.exit(0)\n": "SystemExit",
    "import sys\nsys.exit('bye')\n": "SystemExit",
    "raise SystemExit\n": "SystemExit",
    "def f(): return f()\nf()\n": "RecursionError",
    "1 / 0\n": "ZeroDivisionError",
    "raise ValueError('a\\nb\\x1b[31mc' * 1000)\n": "ValueError",
    "assert False\n": "AssertionError",
    "x = '\x00'\n": "mine.py",
    "# -*- coding: nope -*-\nx = 3\n": "nope",
    "raise MemoryError\n": "MemoryError",
    "x = " + "(" * 5000 + "\n": "mine.py",
    "x = " + "-" * 100_000 + "1\n": "mine.py",
}

FILL = "\n    def fill(self, out, seed, start, split='train'):\n        {}\n"
EVALUATE = "\n    def evaluate(self, model, *, seed, windows=None, batch=32, generate=None):\n        {}\n"
FOUND = "Evaluation({}, {}, {})"
GOOD = "{'a': share(1, 2)}"

TASKS = {
    **{
        FILL.format(body): says
        for body, says in {
            "raise ValueError('on purpose')": "on purpose",
            "sys.exit(0)": "SystemExit",
            "sys.exit(2)": "SystemExit",
            "self.fill(out, seed, start, split)": "RecursionError",
            "out.tokens[:] = 999; out.mask[:] = 1": "999",
            "out.tokens[:] = -1; out.mask[:] = 1": "-1",
            "out.tokens[:] = 1; out.mask[:] = 7": "7",
            "out.tokens[:] = 1; out.mask[:] = 0": "mark",
            "out.tokens[:] = 10**12": "first window",
            "out.tokens[:] = 'x'": "first window",
            "out.tokens[:, 99] = 1": "first window",
            "out.nope = 3": "first window",
            "raise SystemExit('bye')": "SystemExit",
        }.items()
    },
    **{
        EVALUATE.format(body): says
        for body, says in {
            "raise ValueError('on purpose')": "on purpose",
            "sys.exit(0)": "SystemExit",
            "return self.evaluate(model, seed=seed)": "RecursionError",
            "return None": "evaluation",
            "return 0.5": "evaluation",
            "return 'good'": "evaluation",
            "return {'a': 0.5}": "evaluation",
            f"return {FOUND.format('None', ('a',), {})}": "evaluation",
            f"return {FOUND.format({}, (), {})}": "headline",
            f"return {FOUND.format(GOOD, (), {})}": "headline",
            f"return {FOUND.format(GOOD, ('b',), {})}": "headline",
            f"return {FOUND.format(GOOD, 3, {})}": "headline",
            f"return {FOUND.format(GOOD, None, {})}": "headline",
            f"return {FOUND.format(GOOD, [['a']], {})}": "headline",
            f"return {FOUND.format(GOOD, repr('a'), {})}": "headline",
            f"return {FOUND.format(GOOD, ('a',), None)}": "notes",
            f"return {FOUND.format(GOOD, ('a',), [3])}": "notes",
            f"return {FOUND.format(GOOD, ('a',), {'n': 'many'})}": "notes",
            f"return {FOUND.format(GOOD, ('a',), {'n': [1]})}": "notes",
            f"return {FOUND.format({'a': 0.5}, ('a',), {})}": "a",
            f"return {FOUND.format({'a': 'x'}, ('a',), {})}": "a",
            "return Evaluation({3: share(1, 2)}, (3,), {})": "3",
            "return Evaluation({'a': Metric('0.5', 1, 2, 0, 1, 1)}, ('a',), {})": "a.value",
            "return Evaluation({'a': Metric(None, 1, 2, 0, 1, 1)}, ('a',), {})": "a.value",
            "return Evaluation({'a': Metric(True, 1, 2, 0, 1, 1)}, ('a',), {})": "a.value",
            "return Evaluation({'a': Metric(np.zeros(3), 1, 2, 0, 1, 1)}, ('a',), {})": "a.value",
            "return Evaluation({'a': Metric(torch.zeros(3), 1, 2, 0, 1, 1)}, ('a',), {})": "a.value",
            "return Evaluation({'a': Metric(1 + 2j, 1, 2, 0, 1, 1)}, ('a',), {})": "a.value",
            "return Evaluation({'a': Metric(1.5, 3, 2, 0, 1, 1)}, ('a',), {})": "a",
            "return Evaluation({'a': Metric(-0.5, 1, 2, 0, 1, 1)}, ('a',), {})": "a",
            "return Evaluation({'a': Metric(0.5, 1, -2, 0, 1, 1)}, ('a',), {})": "a",
            "return Evaluation({'a': Metric(0.5, 3, 2, 0, 1, 1)}, ('a',), {})": "a",
            "return Evaluation({'a': Metric(0.5, 1, 2, 0.9, 0.1, 1)}, ('a',), {})": "a",
            "return Evaluation({'a': Metric(0.5, 1, 2, 0, 1, 'x')}, ('a',), {})": "a.clusters",
            "return Evaluation({'a': Metric(0.5, 1.5, 2, 0, 1, 1)}, ('a',), {})": "a.right",
            "return Evaluation({'a': Metric(0.5, 1, 2, '0', 1, 1)}, ('a',), {})": "a.low",
            "model(torch.full((1, 4), 10**6))": "evaluation",
            "model('x')": "evaluation",
            "model(torch.zeros(1, 4))\n        return super().evaluate(model, seed=seed, windows='x')": "evaluation",
            "return super().evaluate(lambda ids: 3, seed=seed, windows=windows)": "logits",
        }.items()
    },
    "\n    def __post_init__(self): raise ValueError('on purpose')\n": "on purpose",
    "\n    def __post_init__(self): sys.exit(0)\n": "SystemExit",
    "\n    @property\n    def vocabulary(self): raise ValueError('on purpose')\n": "on purpose",
    "\n    vocabulary = None\n": "len()",
    "\n    vocabulary = 3\n": "len()",
    "\n    vocabulary = []\n": "vocabulary",
    "\n    vocabulary = ['a', 'b']\n": "vocabulary",
    "\n    @property\n    def vocabulary(self): return Vocabulary([('a', 'text', None)] * 2)\n": "name",
    "\n    @property\n    def vocabulary(self): return Vocabulary([('a', 'nope', None)])\n": "role",
    "\n    @property\n    def vocabulary(self): return Vocabulary([(3, 'text', None)])\n": "name",
    "\n    @property\n    def vocabulary(self): return Vocabulary([])\n": "vocabulary",
    "\n    @property\n    def vocabulary(self): return Vocabulary([('a', 'text')])\n": "Error",
    "\n    name = 3\n": "name",
    "\n    name = None\n": "name",
    "\n    version = 'x'\n": "version",
    "\n    separator = 3\n": "separator",
    "\n    @property\n    def parameters(self): return {'f': print}\n": "JSON",
    "\n    @property\n    def parameters(self): return 3\n": "items",
    "\n    @property\n    def identity(self): return {'a': 1}\n": "identity",
    "\n    @property\n    def identity(self): raise ValueError('on purpose')\n": "on purpose",
    "\n    def warnings(self): raise ValueError('on purpose')\n": "on purpose",
    "\n    def warnings(self): return 3\n": "warnings",
    "\n    def coincidence(self, windows): raise ValueError('on purpose')\n": "on purpose",
    "\n    def coincidence(self, windows): return 'x'\n": "coincidence",
    "\n    def coincidence(self, windows): return 7.5\n": "coincidence",
    "\n    @property\n    def files(self): return 3\n": "values",
    "\n    @property\n    def files(self): return {'a': '/nope'}\n": "files",
    "\n    @property\n    def windows_per_exposure(self): return 'x'\n": "windows_per_exposure",
    "\n    @property\n    def windows_per_exposure(self): return 0\n": "windows_per_exposure",
    "\n    difficulty_parameter = 3\n": "difficulty_parameter",
}

FORWARD = "        return self.out(x), state\n"
MIXERS = {
    (FORWARD, f"        {body}\n"): says
    for body, says in {
        "raise ValueError('on purpose')": "on purpose",
        "sys.exit(0)": "SystemExit",
        "return self.forward(x, segment_ids, state)": "RecursionError",
        "return None": "first tokens",
        "return self.out(x)": "first tokens",
        "return self.out(x), state, 3": "first tokens",
        "return 3, state": "first tokens",
        "return 'x', state": "first tokens",
        "return x.detach().numpy(), state": "first tokens",
        "return self.out(x)[..., :3], state": "first tokens",
        "return self.out(x)[:, 1:], state": "first tokens",
        "return self.out(x) * float('nan'), state": "",
        "return self.out(x) / 0, state": "",
        "return self.out(x).flip(1), state": "later tokens",
        "return self.out(x) + x.mean(1, keepdim=True), state": "later tokens",
        "return self.out(x).to(torch.complex64), state": "",
        "return x @ torch.zeros(3, 3), state": "first tokens",
    }.items()
} | {
    ("width: int", "size: int"): "width",
    ("width: int", "width: int\n        more: int"): "more",
    ("    @dataclass(frozen=True)\n    class Config:\n        width: int\n", "    Config = 3\n"): "Config",
    ("    @dataclass(frozen=True)\n", ""): "Config",
    ("config, canon", "config"): "",
    ("        super().__init__()\n", ""): "",
    ("        super().__init__()\n", "        sys.exit(0)\n"): "SystemExit",
    ("(Mixer)", ""): "",
    ("self.out = torch.nn.Linear(config.width, config.width)", "self.out = 3"): "first tokens",
    ("config.width, config.width", "config.width, 10**7"): "",
}


def cases() -> Iterator[Bad]:
    for text, says in MODULES.items():
        yield Bad(
            "module", f"train mine.py:Mine {TINY} --out out", (says, "mine.py"), written(mine__py=text), what=text
        )
        yield Bad(
            "module", f"train copy {TINY} --model mine.py:Mine --out out", (says,), written(mine__py=text), what=text
        )
    for body, says in TASKS.items():
        yield Bad(
            "task", f"train mine.py:Mine {TINY} --out out", (says, "mine.py"), written(mine__py=TASK + body), what=body
        )
    for (before, after), says in MIXERS.items():
        assert before in MIXER
        text = MIXER.replace(before, after, 1)
        yield Bad(
            "mixer",
            f"train copy {TINY} --model mine.py:Mine --out out",
            (says, "mine.py"),
            written(mine__py=text),
            what=f"{before} -> {after}",
        )
    for name in (
        "mine.py:",
        "mine.py:Nope",
        "mine.py:mine",
        "mine.py:Mine:Mine",
        "mine.py:3",
        ":Mine",
        "nope.py:Mine",
        "mine.py",
    ):
        yield Bad("class", ["train", name, "--out=out"], (), written(mine__py=TASK))
        yield Bad("class", ["train", "copy", f"--model={name}", "--out=out"], (), written(mine__py=MIXER))
    for command in (
        "tasks mine.py:Mine --set n=3",
        "sample mine.py:Mine --set N=x",
        "check mine.py:Mine",
    ):
        yield Bad("class", command, (), written(mine__py=TASK))
    yield Bad("class", "sample mine.py:Mine", ("Task",), written(mine__py=MIXER))
    yield Bad("class", f"train copy {TINY} --model mine.py:Mine --mixer heads=2", ("heads",), written(mine__py=MIXER))
    yield Bad("class", f"train copy {TINY} --model mine.py:Mine --canon b", ("b",), written(mine__py=MIXER))
    yield Bad("class", f"train copy {TINY} --model mine.py:Mine --canon ABCD", ("B",), written(mine__py=MIXER))
