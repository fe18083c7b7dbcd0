"""Words of the command line: numbers, words, sizes, Canon sets, hybrids, and what single commands take."""

import dataclasses
from collections.abc import Iterator

from bad_inputs.case import TINY, Bad
from canonlab.training.config import WORDS, BackendConfig, TrainingConfig

HUGE = "9" * 400
NO_INTEGERS = [
    "-1",
    "1.5",
    "x",
    "",
    "nan",
    "inf",
    "true",
    "[1]",
    "1_000",
    "0x10",
    "010",
    "٣",
    "1e999",
    str(10**30),
    HUGE,
]
NO_FLOATS = ["-1", "x", "", "nan", "inf", "-inf", "true", "1e999", "1,5", "0x1p3", "٣", HUGE]
ALWAYS = ("-1", "x", "nan", str(10**30))


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def numbers() -> Iterator[Bad]:
    for part in (TrainingConfig, BackendConfig):
        for field in dataclasses.fields(part):
            values = {int: NO_INTEGERS, float: NO_FLOATS}.get(field.type, [])
            few = field.name not in ("steps", "lr")
            for value in values:
                if not few or value in ALWAYS:
                    yield Bad("number", ["train", "copy", f"{flag(field.name)}={value}"], (field.name, value[:20]))
    zeros = ("steps", "batch", "eval_every", "eval_windows", "checkpoint_every", "log_every", "lr", "eps")
    for name in zeros:
        yield Bad("number", f"train copy {flag(name)} 0", (f"{name} = 0",))
    for command, says in {
        "train copy --seed 18446744073709551616": "seed = 18446744073709551616",
        "train copy --beta1 1": "beta1 = 1",
        "train copy --beta2 1.5": "beta2 = 1.5",
        "train copy --batch 8 --microbatch 3": "microbatch = 3",
        "train copy --batch 1000000000000": "batch = 1000000000000",
        "train copy --steps 4000000000000000000 --batch 8": "steps = 4000000000000000000",
        "train copy --threads 100000": "threads = 100000",
        "train copy --eval-windows 1000000000000": "eval_windows = 1000000000000",
        "train copy --final-windows 1000000000000": "final_windows = 1000000000000",
        "train copy --microbatch 1000000000000": "microbatch = 1000000000000",
        "train capo --steps 0 --exposures 1000000000000000000000": "exposures = 1000000000000000000000",
        "train copy --exposures 5": "exposures = 5",
        "train copy --steps 0 --exposures 5": "exposures = 5",
        "train copy --mlp-ratio -1": "mlp_ratio = -1",
        "train copy --mlp-ratio nan": "mlp_ratio = nan",
        "train copy --mlp-ratio 1e300": "mlp_ratio = 1e+300",
        "train copy --canon-kernel 1": "canon_kernel = 1",
        "train copy --canon-kernel 1000000000000": "canon_kernel = 1000000000000",
        "sample copy --seed -1": "seed = -1",
        "sample copy --seed 18446744073709551616": "seed = 18446744073709551616",
        "sample copy --start -1": "start = -1",
        "sample copy --start 4611686018427387904": "start = 4611686018427387904",
        f"sample copy --start {HUGE}": "start = 999",
        "sample copy --count 0": "count = 0",
        "sample copy --count -3": "count = -3",
        "sample copy --count x": "--count",
        "sample copy --count 1.5": "--count",
        "sample copy --count 1000000000000": "count = 1000000000000",
        f"sample copy --count {'9' * 5000}": "--count",
        "show copy --index -1": "index = -1",
        "show copy --index 4611686018427387904": "4611686018427387904",
        "show copy --query -1": "query = -1",
        "show copy --query 1000000000000": "query = 1000000000000",
        "show copy --seed -1": "seed = -1",
        "show copy --seed 18446744073709551616": "seed = 18446744073709551616",
        "check-task copy --seed -1": "seed = -1",
        "check-task copy --seed 18446744073709551616": "seed = 18446744073709551616",
        "check-task copy --windows 0": "windows = 0",
        "check-task copy --windows -1": "windows = -1",
        "check-task copy --windows 1000000000000": "windows = 1000000000000",
        "check-task copy --windows many": "--windows",
        "models --vocabulary 0": "vocabulary = 0",
        "models --vocabulary -5": "vocabulary = -5",
        "models --vocabulary 1000000000000000000000": "vocabulary = 1000000000000000000000",
        "models --context 0": "context = 0",
        "models llama-rope --context -1": "context = -1",
        "models llama-rope --context 1000000000000000000000": "context = 1000000000000000000000",
        "export-data copy --out x.jsonl --format jsonl --count 0": "count = 0",
        "export-data copy --out x.jsonl --format jsonl --count -1": "count = -1",
        "export-data copy --out x.jsonl --format jsonl --count 1000000000000": "count = 1000000000000",
        "export-data copy --out x.jsonl --format jsonl --count 1 --start -1": "start = -1",
        "export-data copy --out x.jsonl --format jsonl --count 1 --seed -1": "seed = -1",
        "export-data copy --out x.jsonl --format jsonl --count 1 --seed 18446744073709551616": "seed = 184467440",
        "export-data copy --out x.jsonl --format jsonl --count x": "--count",
        "demo --steps 0": "steps = 0",
        "demo --steps -5": "steps = -5",
        "demo --steps 100000000000000000000": "steps = 100000000000000000000",
        "demo --steps x": "--steps",
        "eval run --windows -1": "windows = -1",
        "eval run --windows 1000000000000": "windows = 1000000000000",
        "eval run --seed -1": "seed = -1",
        "eval run --seed 18446744073709551616": "seed = 18446744073709551616",
        "eval run --windows x": "--windows",
        "finetune run copy --lora -1": "lora = -1",
        "finetune run copy --lora-embedding 3": "lora_embedding = 3: goes with lora",
        "finetune run copy --checkpoint bst": "unknown checkpoint 'bst'; did you mean 'best'",
        "finetune run copy --set N=9 context=40": "another vocabulary than copy: token 8 is none, not '7'",
        "finetune run mano": "another vocabulary than mano: token 1 is",
        "finetune run cpy": "unknown task 'cpy'; did you mean 'copy'",
        "finetune begun copy": "begun': is not done",
        "finetune nowhere copy": "nowhere is not a run folder",
        "finetune run copy --set N=6 context=28 --out run/start.safetensors": "start.safetensors belongs to the run in",
    }.items():
        yield Bad("number", command, (says,))


def parameters() -> Iterator[Bad]:
    wrong = {
        "copy": {
            "N": ["1", "-1", "0", "1000000000000", "1.5", "x", "true", "[1]", "null", "''"],
            "context": ["3", "0"],
        },
        "depo1": {"N": ["2", "1000000000000"], "K": ["0", "10000000"], "V": ["0", "-1", "1000000000000"]},
        "brevo1": {"N": ["2", "100000"], "V": ["0", "text"], "query": ["''", "LAST", "3", "[last]", "null"]},
        "mano": {"L": ["0", "1000000000000", "1.5"], "context": ["10"]},
        "capo": {
            "N": ["0", "-1", "1000000000000"],
            "simple": ["1", "maybe", "null"],
            "tokenizer": ["nope", "3", "''"],
            "words": ["nope", "3", "''"],
            "paraphrases": ["-1", "10000", "x"],
            "permute": ["1", "maybe"],
        },
        "biod": {"N": ["0", "1000000000000"], "N0": ["1", "x"], "T": ["1", HUGE], "D": ["0", "250001"], "K": ["0"]},
        "lano-cfg3f": {"grammar": ["cfg3x", "''", "3", "nope.json"], "context": ["1"]},
    }
    for task, fields in wrong.items():
        for name, values in fields.items():
            for value in values:
                yield Bad("parameter", ["tasks", task, "--set", f"{name}={value}"], (name,))
        for value in ("1000000000000", "-1", "1e30", "x", HUGE):
            yield Bad("parameter", ["sample", task, "--set", f"context={value}"], ("context",))
    for value in (
        "3",
        "[1]",
        "[2,1]",
        "[0,1]",
        "[1,1000000000000]",
        "[1,2,3]",
        "[a,b]",
        "{a: 1}",
        "[1.5,2]",
        "[true,2]",
    ):
        for task in ("depo1", "brevo2"):
            yield Bad("parameter", ["tasks", task, "--set", f"lengths={value}"], ("lengths",))
    for words in (
        "N",
        "N=",
        "=3",
        "N=3 N=4",
        "n=3",
        "N.x=3",
        "N=[1",
        "N={",
        "N=&a",
        "N=*a",
        "N=!!python/object:x",
        "N=1:30",
    ):
        yield Bad("parameter", f"tasks copy --set {words}", ("N",) if "n=" not in words and words != "=3" else ())


def words() -> Iterator[Bad]:
    for field, allowed in ((field, sorted(words)) for field, words in WORDS.items()):
        for value in ("", "x", allowed[0].upper(), f"{allowed[0]} ", "\x1b[31mred", "a" * 5000, "\N{SNOWMAN}", "-"):
            yield Bad("word", ["train", "copy", f"{flag(field)}={value}"], (f"unknown {field}",))
    for device in (
        "",
        "gpu",
        "CPU",
        "cuda:-1",
        "cuda:99999999999999999999",
        "cuda:x",
        "cpu:5",
        "meta",
        "\x1b[2J",
        "x" * 9999,
    ):
        yield Bad("word", ["train", "copy", f"--device={device}"], ("device",))
        yield Bad("word", ["check", "gla", f"--device={device}"], ("device",))
    for mlp, activation in (("", "silu"), ("dense", "silu"), ("gated", ""), ("gated", "swish"), ("\x1b[1m", "silu")):
        yield Bad("word", ["train", "copy", f"--mlp={mlp}", f"--activation={activation}"], ("unknown",))
    for name in ("", "cpy", "COPY", "copy ", "\x1b]0;x\x07", "a" * 10_000, "../copy", "copy.py"):
        for command in ("tasks", "sample", "train", "score", "check-task"):
            yield Bad("word", [command, name, *(["--out=x"] if command == "train" else [])], ("task",))
    for name in (
        "",
        "lama",
        "LLAMA-ROPE",
        "\x1b[31m",
        "gla," * 3,
        ",",
        "gla,,gdn",
        "m" * 10_000,
        "x.py",
        "x.py:",
        ":X",
    ):
        for command in ("models", "check"):
            yield Bad("word", [command, name], ())
        yield Bad("word", ["train", "copy", f"--model={name}"], ())
    for name in ("", "segmnts", "Forward", "\x1b[31m", "c" * 10_000):
        for option in ("only", "skip"):
            yield Bad("word", ["check", "gla", f"--{option}", name], ("check",))
    for split in ("", "evl", "TRAIN", "\x1b[0m", "t" * 3000):
        yield Bad("word", ["sample", "copy", f"--split={split}"], ("split",))
        yield Bad(
            "word", ["export-data", "copy", "--out=x", "--count=1", "--format=jsonl", f"--split={split}"], ("split",)
        )
    for name in ("", "dta", "DATA", "\x1b[31m", "b" * 3000):
        yield Bad("word", ["bench", name], ("benchmark",))
        yield Bad("word", ["export-data", "copy", "--out=x", "--count=1", f"--format={name}"], ("format",))
        yield Bad("word", ["eval", "run", f"--checkpoint={name}"], ("checkpoint",))
        yield Bad("word", ["train", "copy", f"--log={name}"], ("log",))
        yield Bad("word", ["sweep", name], (name[:50] or "recipe",) if name.isprintable() else ())


def sizes() -> Iterator[Bad]:
    for size in (
        *(
            "",
            "8",
            "0L8D",
            "8L0D",
            "8L",
            "L8D",
            "8l512d",
            "8L512D7H",
            "8L512D0H",
            "-1L8D",
            "8L-8D",
            "8.5L8D",
            "8L512",
        ),
        *(
            "1000000L64D",
            "1L1000000000D",
            "1000000-1",
            "1-1000000",
            f"{HUGE}L64D",
            f"1L{HUGE}D",
            f"{HUGE}-{HUGE}",
            "٣L8D",
        ),
        *("1L64D\n", "\x1b[1m1L8D", "1L8D 1L8D", "0-0", "1--1", "1-", "9" * 5000),
    ):
        yield Bad("size", ["train", "copy", f"--size={size}"], ("size",))
        yield Bad("size", ["models", "llama-rope", f"--size={size}"], ("size",))
    yield Bad("size", "train copy --size 900L8192D", ("size", "GiB"))
    yield Bad("size", "check gla --size 1L65536D", ("size", "GiB"))
    for canon in ("ABX", "AA", "abcd", "Bb", "\x1b[31m", "A,B", "ABCD" * 1000, "non", "٣", "b"):
        yield Bad("canon", ["train", "copy", f"--canon={canon}"], ("canon",))
    yield Bad("canon", "train copy --model mamba2 --canon CD", ("canon",))
    for settings in (
        "heads=0",
        "heads=-1",
        "heads=x",
        "heads=1000000000000",
        "heads=7",
        "kv_heads=3",
        "head=2",
        "conv1d=true",
    ):
        yield Bad("mixer", f"train copy --mixer {settings}", (settings.split("=")[0],))
        yield Bad("mixer", f"models gla --mixer {settings}", ())
    for settings in (
        "position=x",
        "position=3",
        "base=0",
        "rope_base=0",
        "rope_base=nan",
        "bias=3",
        "key_share=0",
        "key_share=-1",
    ):
        yield Bad("mixer", f"check llama-rope --mixer {settings}", (settings.split("=")[0],))
    for settings in (
        "key_share=0",
        "key_share=nan",
        "value_share=-1",
        "value_share=1e300",
        "gate_rank=-1",
        f"gate_rank={10**30}",
        "feature_map=x",
    ):
        yield Bad("mixer", f"train copy --model gla --mixer {settings}", (settings.split("=")[0],))
    for settings in ("state=0", f"state={10**30}", "expand=0", "expand=-2", "heads=0", "chunk=0"):
        yield Bad("mixer", f"train copy --model mamba2 --mixer {settings}", (settings.split("=")[0],))
    for model in ("gla," * 100_000 + "gla", ",".join(["llama-rope", "gdn"] * 5000), "gla,nope", "gla;gdn", "gla, ,gdn"):
        yield Bad("hybrid", ["train", "copy", f"--model={model}"], ("unknown model" if len(model) < 99 else "model",))
        yield Bad("hybrid", ["check", model], ())


def others() -> Iterator[Bad]:
    for line in (
        *(
            "",
            "\n\n",
            "nonsense",
            "{}",
            "[]",
            "null",
            "3",
            '"text"',
            "{",
            '{"prompt": []}',
            '{"prompt": [0], "answer": 3}',
        ),
        *(
            '{"prompt": 3, "answer": []}',
            '{"prompt": [], "answer": []}',
            '{"prompt": [true], "answer": []}',
            "[" * 100_000,
        ),
        *('{"prompt": [1.5], "answer": []}', '{"prompt": [999999], "answer": []}', '{"prompt": [-1], "answer": []}'),
        *('{"prompt": ["0"], "answer": []}', '{"prompt": [null], "answer": []}', '{"prompt": {"0": 0}, "answer": []}'),
        *(
            '{"prompt": [NaN], "answer": []}',
            '{"prompt": [1e999], "answer": []}',
            f'{{"prompt": [{"9" * 5000}], "answer": []}}',
        ),
        *(
            '{"prompt": [[[[0]]]], "answer": []}',
            "\x00",
            '{"prompt": [0], "answer": "x"}',
            '{"prompt": [0, 2, 3',
            "\x1b[31m",
        ),
    ):
        yield Bad(
            "answers", "score copy --set N=6 context=28", ("input" if not line.strip() else "line 1",), stdin=line
        )
        yield Bad("answers", "score mano --json", (), stdin=line)
    for command in (
        *("", "nope", "train --nope 3", "tasks a b c", "sample", "show", "score", "check", "check-task", "export-data"),
        *("export-data copy", "export-data copy --count 3", "resume", "eval", "sweep", "bench", "resume a b", "--nope"),
        *(
            "train copy --steps",
            "train copy --out",
            "report --out",
            "tasks --nope=" + "9" * 3000,
            "\x1b[31m",
            "demo --out",
        ),
        *(
            "train copy copy",
            "train --json 3 4",
            "eval run --checkpoint",
            "sweep a --set",
            "models a b",
            "check gla gdn",
        ),
    ):
        yield Bad("parsing", command, ())
    for command, says in {
        "report": "name the run folders",
        "report nowhere": "nowhere",
        "report .": "no run found in .",
        "claims nowhere": "nowhere",
        "claims .": "no run found in .",
        "import nowhere": "nowhere is no folder, and no name on the Hugging Face hub such as owner/name",
        "import .": "has no weights: it needs consolidated.pth",
        "import run --out run/checkpoints": "checkpoints belongs to the run in ",
        "export nowhere --out out": "nowhere is no folder, and no name on the Hugging Face hub such as owner/name",
        "export . --out out": "has no weights: it needs",
        "export run --out out --to onnx": "unknown to 'onnx' (allowed: hf)",
        "export run --out run/checkpoints": "checkpoints belongs to the run in ",
        "export run --out run": "run'",
        "lm-eval run --tasks x --limit 0": "limit = 0: must be an integer of at least 1",
        "lm-eval run --tasks x --out run/config.json": "config.json belongs to the run in ",
        "resume nowhere": "nowhere is not a run folder",
        "resume .": "is not a run folder",
        "eval nowhere": "nowhere is not a run folder",
        "train": "task: missing",
        "tasks --set N=3": "name the task",
        "models --mixer heads=2": "name the model",
        "models gla --mixer heads": "NAME=VALUE",
        "check gla,gdn": "one mixer at a time",
        "check llama-rope --size 2L60D7H": "size",
        "show copy --out x.png": "must end in .svg",
        "show lano-cfg3f --set context=60000 --query 99999": "query",
        "train copy --isolate --set N=6 context=3": "context",
        "train lano-cfg3f --set grammar=cfg3b context=5": "context",
        "sweep laptop/cpy": "did you mean 'laptop/copy'",
        "sweep laptop/copy --set training.sed=1": "did you mean 'seed'",
        "sweep laptop/copy --set seed=1": "must be a field inside a part",
        "sweep laptop/copy --set training.seed=[]": "training.seed",
        "sweep laptop/copy --set training.seed=x": "training.seed",
        "sweep laptop/copy --set training=3": "training",
        "sweep laptop/copy --set task.set.N=0": "N = 0",
        "sweep laptop/copy --set task.set.N.x=0": "goes through",
        "sweep laptop/copy --device gpu": "device",
        "sweep laptop/copy --gpus 1": "gpus",
        "sweep laptop/copy --options time=5": "options",
        "sweep laptop/copy --gpus nan": "gpus = nan",
        "sweep laptop/copy --options time": "NAME=VALUE",
        f"train copy {TINY} --mixer x": "NAME=VALUE",
    }.items():
        yield Bad("command", command, (says,))


def cases() -> Iterator[Bad]:
    for kind in (numbers, parameters, words, sizes, others):
        yield from kind()
