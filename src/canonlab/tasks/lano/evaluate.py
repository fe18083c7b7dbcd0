"""What the evaluation of Lano measures on one batch: written sentences that parse, and divergences from the truth."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from canonlab.tasks.base import Generate
from canonlab.tasks.lano.kernels import BOS
from canonlab.tasks.lano.parser import Parser


class Written(NamedTuple):
    """How many sentences were written, how many of them parse, and how many the context's end left without an end."""

    right: int
    total: int
    unfinished: int


def first_sentences(tokens: np.ndarray) -> list[np.ndarray]:
    """The first sentence of each window (count, context) whose first sentence is whole, so that a <bos> follows it."""
    ends = (tokens[:, 1:] == BOS).argmax(axis=1)
    return [row[1 : 1 + end] for row, end in zip(tokens, ends, strict=True) if end]


def judge_written(
    parser: Parser, generate: Generate, beginnings: Sequence[Sequence[int]], context: int, seed: int
) -> Written:
    """Have sentences with these beginnings sampled at temperature 1, up to <bos> or the context's end, and parsed."""
    prompts = [[BOS, *beginning] for beginning in beginnings]
    if not prompts:
        return Written(0, 0, 0)
    new = generate(prompts, context - max(map(len, prompts)), BOS, temperature=1.0, seed=seed)
    finished = [
        [*prompt[1:], *tokens[:-1]] for prompt, tokens in zip(prompts, new, strict=True) if tokens[-1:] == [BOS]
    ]
    right = sum(parser.each(parser.recognise, finished))
    return Written(right, len(prompts), len(prompts) - len(finished))


def divergences(parser: Parser, sentences: Sequence[np.ndarray], logits: Tensor) -> np.ndarray:
    """KL(true || model) in nats of each sentence, summed over its tokens and its end.

    `logits` (sentences, time, vocabulary) follow <bos> and the tokens; of them, only <bos> and the terminals count.
    """
    shares = torch.log_softmax(logits[..., : parser.grammar.terminals + 1].double(), dim=-1).cpu().numpy()
    sums = []
    for p, model in zip(parser.each(parser.distributions, sentences), shares, strict=True):
        log_q, possible = model[: len(p)], p > 0
        sums.append(float((p[possible] * (np.log(p[possible]) - log_q[possible])).sum()))
    return np.array(sums)
