"""Low-rank updates (LoRA, arXiv 2106.09685), through peft: W + SCALE B A, where B and A are all that is trained.

They are on every matrix (nn.Linear) that the mixers call (MLA reads two of its without a call, which peft can't see)
and, where that is asked for, on the embedding, as in Part 3.1 (arXiv 2309.14316); where the head is the embedding, the
head has the embedding's update too. MLPs, norms, Canon layers and biases stay as they were.

One factor is 0 at first, B, for the embedding A; the other is as peft draws it, but for the embedding's, which is of
N(0, 1/width): peft's N(0, 1) would move an embedding of 0.02 by that much in a step.

While a run trains, its checkpoints hold W, A and B. Evaluations, and the checkpoints of a run that is done, have
W + SCALE B A in the place of W, so they are those of a plain model.
"""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from canonlab.errors import InputError
from canonlab.extras import optional
from canonlab.models.decoder import Decoder
from canonlab.tasks.evaluation import in_eval_mode

SCALE = 2
"""On all updates, whatever their rank."""

TOKENS = 8
"""On which it is tried what mixers call."""

A_IN, B_IN = ".lora_A.default.weight", ".lora_B.default.weight"
EMBEDDING_A, EMBEDDING_B = ".lora_embedding_A.default", ".lora_embedding_B.default"
"""What peft calls the factors of a module's update."""


def require_peft() -> None:
    """InputError where peft isn't installed."""
    optional("peft", "finetune", "LoRA")


def adapt(model: Decoder, ranks: tuple[int, int], seed: int) -> None:
    """Give a model updates of these ranks, to its mixers and, unless that is 0, its embedding; `seed` draws the factors
    that are not 0. Nothing else is trained from here on. InputError for mixers that call no matrix."""
    peft = optional("peft", "finetune", "LoRA")
    if not (names := _called(model)):
        raise InputError(f"lora = {ranks[0]}: the mixers of this model call no nn.Linear that could be updated")
    embedding = {"embedding": ranks[1]} if ranks[1] else {}
    config = peft.LoraConfig(
        r=ranks[0],
        lora_alpha=SCALE * ranks[0],
        target_modules=[*names, *embedding],
        rank_pattern=embedding,
        alpha_pattern={name: SCALE * rank for name, rank in embedding.items()},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, model)
    if embedding:
        with torch.no_grad():
            _factor(model.embedding, "B").mul_(model.config.width**-0.5)
    if embedding and model.config.tied:
        model.head.register_forward_hook(_head_update(model.embedding))


def _called(model: Decoder) -> list[str]:
    """The names of the mixers' nn.Linear that are called on a few tokens."""
    called: set[nn.Module] = set()
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    mixers = {name: module for name, module in linear.items() if re.match(r"blocks\.\d+\.mixer\.", name)}
    hooks = [module.register_forward_hook(lambda module, *_: called.add(module)) for module in mixers.values()]
    with in_eval_mode(model) as device, torch.no_grad():
        model(torch.zeros(1, TOKENS, dtype=torch.int64, device=device))
    for hook in hooks:
        hook.remove()
    return [name for name, module in mixers.items() if module in called]


def _factor(embedding: nn.Module, name: str) -> Tensor:
    """A (rank, vocabulary) or B (width, rank) of the update of an embedding."""
    factor: Tensor = getattr(embedding, f"lora_embedding_{name}")["default"]
    return factor


def _head_update(embedding: nn.Module) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
    """What adds the update of the embedding to the logits of a head that is the embedding."""

    def hook(head: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
        return logits + SCALE * (inputs[0] @ _factor(embedding, "B") @ _factor(embedding, "A"))

    return hook


def adapted(tensors: Mapping[str, Tensor]) -> bool:
    """Whether there are updates among the tensors of a checkpoint."""
    return any(key.endswith((A_IN, EMBEDDING_A)) for key in tensors)


def merged(tensors: Mapping[str, Tensor], tied: bool) -> dict[str, Tensor]:
    """The weights of a plain model out of those of an adapted one, by the names that they have in a checkpoint or in a
    model's state. Weights without updates stay what they are. `tied`: the head is the embedding."""
    found = dict(tensors)
    for key in tensors:
        for end_a, end_b in ((A_IN, B_IN), (EMBEDDING_A, EMBEDDING_B)):
            if key.endswith(end_a):
                module = key.removesuffix(end_a)
                update = found.pop(module + end_b) @ found.pop(key)
                weight = found.pop(f"{module}.base_layer.weight")
                found[f"{module}.weight"] = weight + SCALE * (update.T if end_a == EMBEDDING_A else update)
                if (bias := found.pop(f"{module}.base_layer.bias", None)) is not None:
                    found[f"{module}.bias"] = bias
                if tied and end_a == EMBEDDING_A:
                    found[module.removesuffix("embedding") + "head.weight"] = found[f"{module}.weight"]
    return found
