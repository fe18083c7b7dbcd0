"""Recipes and files of one run: every error of structure, of size, and of each kind of field."""

import dataclasses
from collections.abc import Iterator

from bad_inputs.case import Bad, written
from canonlab.models.config import ModelConfig
from canonlab.training.config import BackendConfig, TrainingConfig

BILLION = "\n".join(
    f"  training.{field}: [{','.join(map(str, range(1, 1001)))}]" for field in ("seed", "steps", "batch")
)
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(f'*{a}' for _ in range(9))}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

STRUCTURE: dict[str | bytes, str] = {
    "": "empty",
    "\n\n# nothing\n": "empty",
    "- a\n- b\n": "not a mapping",
    "copy": "not a mapping",
    "3": "not a mapping",
    "null": "not a mapping",
    "task: [unclosed\n": "not valid YAML",
    "task: {name: copy\n": "not valid YAML",
    "task: 'copy\n": "not valid YAML",
    "task: copy: copy\n": "not valid YAML",
    "\ttask: copy\n": "not valid YAML",
    "task: copy\n  training: 3\n": "not valid YAML",
    "task: copy\n---\ntask: copy\n": "not valid YAML",
    "\x00": "not valid YAML",
    "task: copy\x00\n": "not valid YAML",
    b"\xff\xfe\x00t": "UTF-8",
    b"\x89PNG\r\n\x1a\n": "UTF-8",
    'task: "\\UFFFFFFFF"\n': "not valid YAML",
    "%YAML 9.9\n---\ntask: copy\n": "YAML",
    "task: @copy\n": "not valid YAML",
    "task: !!python/object/apply:os.system [x]\n": "python/object",
    "task: !!binary aGk=\n": "binary",
    "task: !mine copy\n": "mine",
    "task: copy\ntask: copy\n": "given twice",
    "task: copy\ntraining: {lr: 1, lr: 2}\n": "given twice",
    "task: copy\n? [a]\n: 3\n": "in the place of a name",
    "task: copy\n<<: {a: 3}\n": "<<",
    "task: copy\ngrid: {training.seed: &a [1], training.warmup: *a}\n": "alias",
    BOMB: "alias",
    f"task: copy\ngrid: {'[' * 5000}": "inside one another",
    f"task: copy\ngrid: {'[' * 40}{']' * 40}": "inside one another",
    "task: copy\ntraining: " + "{a: " * 50 + "1" + "}" * 50: "inside one another",
    "task: copy\nabout: " + "x" * (1 << 20) + "\n": "too large",
    "tasks: {name: copy}\n": "did you mean 'task'",
    "task: copy\nfoo: 3\n": "foo",
    "task: copy\n3: 4\n": "3",
    "task: copy\nnull: 4\n": "None",
    "task: copy\ntrue: 4\n": "True",
    "training: {lr: 0.1}\n": "task: missing",
    "task:\n": "task: missing",
    "task: {}\n": "task: missing",
    "task: {name: }\n": "task: missing",
    "task: ''\n": "task",
    "task: 3\n": "task = 3",
    "task: true\n": "task = True",
    "task: [copy]\n": "task = ['copy']",
    "task: {name: [copy]}\n": "task.name",
    "task: {name: 3}\n": "task.name",
    "task: {name: copy, sett: {N: 3}}\n": "sett",
    "task: {name: copy, set: [N]}\n": "task.set",
    "task: {name: copy, set: 3}\n": "task.set",
    "task: {name: copy, set: {N: 6, 3: 4}}\n": "3",
    "task: {name: copy, set: {N: {a: 3}}}\n": "N",
    "task: {name: copy, set: {context: 1e999}}\n": "1e999",
    "task: {name: depo1, set: {lengths: 3}}\n": "lengths",
    "task: copy\nmodel: 3\n": "model = 3",
    "task: copy\nmodel: gla\n": "model",
    "task: copy\nmodel: [gla]\n": "model",
    "task: copy\ntraining: fast\n": "training = 'fast'",
    "task: copy\nbackend: [cpu]\n": "backend",
    "task: copy\nmodel: {mixer: 3}\n": "model.mixer",
    "task: copy\nmodel: {mixer: {heads: two}}\n": "heads",
    "task: copy\nmodel: {mixer: {3: 4}}\n": "3",
    "task: copy\nmodel: {sizes: 8L512D}\n": "sizes",
    "task: copy\ntraining: {learning_rate: 0.1}\n": "learning_rate",
    "task: copy\ntraining: {1: 2}\n": "1",
    "task: copy\ntraining: {steps: 010}\n": "010",
    "task: copy\ntraining: {steps: 1:30}\n": "1:30",
    "task: copy\ntraining: {steps: 0x1F}\n": "0x1F",
    "task: copy\ntraining: {steps: 1_000}\n": "1_000",
    "task: copy\ngrid: 3\n": "grid = 3",
    "task: copy\ngrid: [training.lr]\n": "grid",
    "task: copy\ngrid: {training.lr: 3}\n": "training.lr",
    "task: copy\ngrid: {training.lr: []}\n": "training.lr",
    "task: copy\ngrid: {training.lr: {a: 3}}\n": "training.lr",
    "task: copy\ngrid: {training.lr: }\n": "training.lr",
    "task: copy\ngrid: {lr: [0.1]}\n": "must be a field inside a part",
    "task: copy\ngrid: {'': [0.1]}\n": "must be a field inside a part",
    "task: copy\ngrid: {.: [0.1]}\n": "''",
    "task: copy\ngrid: {3: [0.1]}\n": "3",
    "task: copy\ngrid: {training..lr: [0.1]}\n": "''",
    "task: copy\ngrid: {training.lr.x: [0.1]}\n": "training.lr",
    "task: copy\ngrid: {nope.lr: [0.1]}\n": "nope",
    "task: copy\ngrid: {'training.lr, training.seed': [1, 2]}\n": "rows of 2",
    "task: copy\ngrid: {'training.lr, training.seed': [[1], [2]]}\n": "rows of 2",
    "task: copy\ngrid: {'training.lr, training.lr': [[1, 2]]}\n": "varies twice",
    "task: copy\ngrid: {training.lr: [1], 'training.lr, training.seed': [[1, 2]]}\n": "varies twice",
    "task: copy\nvariants: 3\n": "variants",
    "task: copy\nvariants: {training.lr: [1]}\n": "variants",
    "task: copy\nvariants: [3]\n": "variants",
    "task: copy\nvariants: [{training.lr: 3}]\n": "training.lr",
    "task: copy\nextends: 3\n": "extends = 3",
    "task: copy\nextends: []\n": "extends = []",
    "task: copy\nextends: ''\n": "recipe",
    "task: copy\nextends: nope\n": "nope",
    "task: copy\nextends: recipe.yaml\n": "extends itself",
    "task: copy\nextends: ../../etc/passwd\n": "passwd",
    "task: copy\nname: 3\ntraining: {steps: 0}\n": "steps = 0",
    "task: copy\nname: [a]\n": "name",
    "task: copy\nname: ''\n": "name",
    "task: copy\nname: ../../up\n": "name",
    "task: copy\nname: /tmp/x\n": "name",
    'task: copy\nname: "a\\e[31m"\n': "name",
    "task: copy\nname: " + "x" * 300 + "\n": "name",
    "task: copy\nabout: {a: 3}\n": "about",
    f"task: copy\ngrid:\n{BILLION}\n": "1,000,000,000 runs",
    f"task: copy\ngrid: {{training.seed: [{','.join(map(str, range(100_001)))}]}}\n": "too large",
}

WRONG = {
    int: ("x", "1.5", "true", "[1]", "{a: 1}", "null", ".nan", ".inf", "-1", "9" * 400, "1e300"),
    float: ("x", "true", "[1]", "{a: 1}", "null", ".nan", ".inf", "-1", "9" * 400, "1e999"),
    str: ("3", "true", "[a]", "{a: 1}", "null", "''", "nope"),
    bool: ("3", "'x'", "[true]", "{a: 1}", "null", "yes", "0"),
}


def cases() -> Iterator[Bad]:
    for number, (text, says) in enumerate(STRUCTURE.items()):
        command = "sweep recipe.yaml" if number % 3 or "grid" in str(text) else "train --config recipe.yaml --out out"
        if any(word in str(text) for word in ("name:", "extends:", "variants:", "about:")):
            command = "sweep recipe.yaml"
        yield Bad("recipe", command, (says,), written(recipe__yaml=text), what=repr(text))
    for part, cls in (("model", ModelConfig), ("training", TrainingConfig), ("backend", BackendConfig)):
        for index, field in enumerate(dataclasses.fields(cls)):
            for turn, value in enumerate(WRONG.get(field.type, ())):
                if (field.name, value) == ("canon", "''"):
                    continue  # no points at all
                if field.name in ("steps", "lr", "size", "canon", "isolate") or (turn + index) % 4 == 0:
                    text = f"task: copy\n{part}: {{{field.name}: {value}}}\n"
                    yield Bad(
                        "field",
                        "sweep recipe.yaml",
                        ("line 2" if len(value) > 99 or value == "1e999" else field.name,),
                        written(recipe__yaml=text),
                        what=text,
                    )
