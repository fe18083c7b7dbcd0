"""What a training step costs, against its own matrix products, and what Canon layers, bf16 and compiling change."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from canonlab.checks import seconds_since
from canonlab.models.config import ModelConfig
from canonlab.models.decoder import Decoder
from canonlab.models.sizes import Size
from canonlab.models.table import REFERENCE, VOCABULARY
from canonlab.training.backend import Backend, resolve_backend
from canonlab.training.config import BackendConfig, TrainingConfig
from canonlab.training.optimizer import build_optimizer

Row = dict[str, Any]
Product = tuple[str, tuple[int, ...], tuple[int, ...]]


class Step:
    """A training step of `batch` x `time` tokens with every position marked, on one backend."""

    def __init__(self, size: str, canon: str, backend: Backend, batch: int, time: int, model: str = REFERENCE) -> None:
        self.backend = backend
        decoder = ModelConfig(model, size, canon).decoder(VOCABULARY)
        self.model: Decoder = backend.place(decoder.build())
        self.optimizer = build_optimizer(self.model, TrainingConfig(lr=1e-4))
        self.ids = torch.randint(VOCABULARY, (batch, time), device=backend.device)

    def forward_backward(self) -> None:
        with self.backend.autocast():
            logits = self.model(self.ids).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), self.ids[:, 1:].flatten()).backward()

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.forward_backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if self.backend.device.startswith("cuda"):
            torch.cuda.synchronize()


def best_times(actions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The best time of each action in seconds, all taking turns, after two rounds that don't count."""
    best = [float("inf")] * len(actions)
    for round_ in range(rounds + 2):
        for i, action in enumerate(actions):
            began = time.perf_counter()
            action()
            if round_ >= 2:
                best[i] = min(best[i], seconds_since(began))
    return best


def products_of(step: Step) -> Counter[Product]:
    """Every matrix product of one step, by shapes; causal attention counts as products over half of the keys."""

    class Recorder(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.found: Counter[Product] = Counter()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__
            if name in ("mm", "bmm"):
                self.found[name, tuple(args[0].shape), tuple(args[1].shape)] += 1
            elif name == "addmm":
                self.found["mm", tuple(args[1].shape), tuple(args[2].shape)] += 1
            elif name.startswith("_scaled_dot_product") and "backward" not in name:
                batch, heads, tokens, width = args[0].shape
                rows, half = batch * heads, tokens // 2
                # Forward: q k^T and p v. Backward: dv, dp, dq, dk, and q k^T again, which no method keeps.
                self.found["bmm", (rows, tokens, width), (rows, width, half)] += 3
                self.found["bmm", (rows, tokens, half), (rows, half, width)] += 4
            return func(*args, **(kwargs or {}))

    with Recorder() as recorder:
        step.forward_backward()
    return recorder.found


def product_seconds(products: Counter[Product], device: str, dtype: torch.dtype, rounds: int) -> float:
    """The summed best times of the products, each timed alone."""
    total = 0.0
    for (name, a_shape, b_shape), count in products.items():
        a, b = (torch.randn(shape, device=device, dtype=dtype) for shape in (a_shape, b_shape))
        product = torch.bmm if name == "bmm" else torch.mm
        out = product(a, b)
        total += count * best_times([partial(product, a, b, out=out)], rounds)[0]
    return total


PARTS = {
    "matrix products": ("aten::mm", "aten::bmm", "aten::addmm", "mkldnn", "extern_kernels"),
    "attention": ("scaled_dot_product",),
    "Canon layers": ("canonlab::canon",),
    "optimizer": ("adamw", "Optimizer"),
}
"""Part of a step -> words in the profiler's names of its operators. The rest: norms, activations, rotation, loss."""


def breakdown(step: Step) -> list[Row]:
    """Where the time of one step goes, by the profiler's own time of each operator."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    spent: Counter[str] = Counter()
    for event in profile.key_averages():
        part = next(
            (part for part, words in PARTS.items() if any(word in event.key for word in words)), "everything else"
        )
        spent[part] += event.self_cpu_time_total
    total = sum(spent.values())
    return [{"part": part, "milliseconds": us / 1e3, "share": us / total} for part, us in spent.most_common()]


def bench_train(threads: int = 1, rounds: int = 5) -> dict[str, list[Row]]:
    """Tables: the step of 8L512D on 4 x 512 tokens, where its time goes, and the step of a tiny model."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        large = [("none", "fp32"), ("ABCD", "fp32"), ("none", "bf16"), ("ABCD", "bf16")]
        variants = [(canon, precision, compiled) for canon, precision in large for compiled in ("off", "on")]
        steps = [_step("8L512D", *variant, threads, 4, 512) for variant in variants]
        rows = _rows("8L512D", variants, best_times(steps, rounds), 4 * 512)
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            alone = product_seconds(
                products_of(steps[variants.index(("none", precision, "off"))]), "cpu", dtype, rounds
            )
            for row in rows:
                if row["precision"] == precision:
                    row["products / step"] = alone / row["seconds"]
        parts = breakdown(steps[variants.index(("ABCD", "fp32", "on"))])
        small = [(canon, precision, compiled) for canon, precision in large for compiled in ("off", "on")]
        tiny = [_step("1L32D2H", *variant, threads, 32, 130) for variant in small]
        tiny_rows = _rows("1L32D2H", small, best_times(tiny, 20 * rounds), 32 * 130)
    finally:
        torch.set_num_threads(before)
    return {
        f"training step, 4 x 512 tokens, {threads} thread(s)": rows,
        "where the compiled fp32 step with Canon-ABCD spends its time": parts,
        f"training step of a tiny model, 32 x 130 tokens, {threads} thread(s)": tiny_rows,
    }


def _step(size: str, canon: str, precision: Any, compiled: Any, threads: int, batch: int, tokens: int) -> Step:
    parsed = Size.parse(size)
    config = BackendConfig("cpu", precision, compiled, threads)
    backend, _ = resolve_backend(config, parsed.width, parsed.width // parsed.heads)
    return Step(size, canon, backend, batch, tokens)


def _rows(size: str, variants: Sequence[tuple[str, str, str]], times: Sequence[float], tokens: int) -> list[Row]:
    seconds = dict(zip(variants, times, strict=True))
    return [
        {
            "size": size,
            "canon": canon,
            "precision": precision,
            "compile": compiled,
            "seconds": time_,
            "tokens/s": round(tokens / time_),
            "fp32 / this": seconds[canon, "fp32", compiled] / time_,
            "this / without Canon": time_ / seconds["none", precision, compiled],
        }
        for (canon, precision, compiled), time_ in seconds.items()
    ]
