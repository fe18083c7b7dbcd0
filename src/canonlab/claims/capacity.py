"""The published results about capacity as claims. Source: Physics of Language Models Part 3.3 (arXiv 2404.05405),
results 1 to 12.

All are about bits per parameter: each difference is log2 of a factor. Those about text are against the same people read
alone, 100 times. The architecture of Part 3.3 is `gpt2-original`, with other MLPs in place of its own.
"""

import math
from dataclasses import replace

from canonlab.claims.claim import Claim
from canonlab.claims.contrast import Contrast, Measure
from canonlab.claims.knowledge import KNOWLEDGE, Knowledge
from canonlab.results.knowledge import JUNK, LABELLED, REPEATED, SIMPLE

SAME = math.log2(1.1)
"""What "no difference" allows: ten percent."""

CAPACITY = Measure("capacity")

BASE = Knowledge("gpt2-original")
LONG = replace(BASE, exposures=1000)
EXPERTS = Knowledge("llama-moe")
GATED = (("mlp", "gated"),)
QUARTER = (("mlp", "standard"), ("mlp_ratio", 1.0))
NO_MLP = (("mlp", "none"),)
INT8, INT4 = ((("quantization.bits", bits), ("quantization.method", "gptq")) for bits in (8, 4))

PEOPLE = ("paper/capo-1000", "paper/capo-mlp")
MINIATURE = ("mini/capacity",)


def more(first: Knowledge, second: Knowledge, published: float, least: float = 0.0, task: str = KNOWLEDGE) -> Contrast:
    """The first knows more per parameter: in the paper by the factor `published`, here by 2^least or more."""
    factor = math.log2(published)
    return Contrast(first, second, "knows more than", (task,), CAPACITY, CAPACITY, least, published=factor)


def no_less(first: Knowledge, second: Knowledge, task: str = KNOWLEDGE) -> Contrast:
    """The first knows as much, or more, or less by no more than ten percent."""
    return Contrast(first, second, "knows as much as", (task,), CAPACITY, CAPACITY, -SAME, published=0.0)


def as_much(first: Knowledge, second: Knowledge, task: str = KNOWLEDGE) -> Contrast:
    """The two know as much but for ten percent."""
    return replace(no_less(first, second, task), most=SAME)


def between(side: Knowledge, low: float, high: float, task: str) -> tuple[Contrast, ...]:
    """The bits per parameter lie between two numbers."""
    above = Contrast(side, low, "has more bits per parameter than", (task,), CAPACITY, CAPACITY)
    below = Contrast(side, high, "has fewer bits per parameter than", (task,), CAPACITY, CAPACITY, -math.inf, 0.0)
    return above, below


def _with(settings: tuple[tuple[str, object], ...], side: Knowledge = BASE) -> Knowledge:
    return replace(side, settings=settings)


def _in(text: str, exposures: int = 100) -> Knowledge:
    return replace(BASE, text=text, exposures=exposures)


def _peak(side: Knowledge) -> Knowledge:
    return replace(side, peak=True)


CLAIMS = (
    Claim(
        "3.3.1",
        "Two bits per parameter",
        "After 1000 exposures models know at their peak 2 to 2.3 bits per parameter about people (bioS).",
        "A peak of 2 bits per parameter or more over all sizes, and none over 2.3.",
        ("paper/capo-1000",),
        between(_peak(LONG), 2.0, 2.3, "capo"),
    ),
    Claim(
        "3.3.2",
        "One bit after a tenth of the exposures",
        "After 100 exposures models know less than after 1000.",
        "About 1 bit per parameter, half of what there is after 1000 exposures.",
        PEOPLE,
        (more(_peak(LONG), _peak(BASE), 2.0),),
        small=MINIATURE,
    ),
    Claim(
        "3.3.3",
        "Rewriting costs no capacity",
        "Biographies that are written anew each time are learnt as well as those that never change.",
        "bioS-simple gives slightly less.",
        ("paper/capo-1000",),
        (no_less(LONG, _in(SIMPLE, 1000), "capo"),),
    ),
    Claim(
        "3.3.4",
        "The same law for any knowledge",
        "After 1000 exposures models know at their peak 2 to 2.3 bits per parameter of bioD too.",
        "The peak is the same for all sizes of chunks, of their sets and of the vocabulary.",
        ("paper/biod",),
        between(_peak(LONG), 2.0, 2.3, "biod"),
        small=MINIATURE,
    ),
    Claim(
        "3.3.5",
        "After 1000 exposures the MLP does not matter",
        "After 1000 exposures a gated MLP, one of a quarter and none at all are as good as a standard one.",
        "No difference, even without MLPs.",
        ("paper/capo-1000",),
        tuple(as_much(_with(mlp, LONG), LONG) for mlp in (GATED, QUARTER, NO_MLP)),
        small=MINIATURE,
    ),
    Claim(
        "3.3.6",
        "Gated MLPs store less after 100 exposures",
        "After 100 exposures a gated MLP knows less than a standard one.",
        "About 1.3 times less.",
        ("paper/capo-mlp",),
        (more(BASE, _with(GATED), 1.3),),
        small=MINIATURE,
    ),
    Claim(
        "3.3.7",
        "A small MLP will do, none will not",
        "After 100 exposures an MLP of a quarter knows as much as a whole one, and none knows less.",
        "No difference for a quarter; 1.5 times less or worse without MLPs.",
        ("paper/capo-mlp",),
        (as_much(_with(QUARTER), BASE), more(BASE, _with(NO_MLP), 1.5)),
        small=MINIATURE,
    ),
    Claim(
        "3.3.8",
        "Int8 costs nothing, int4 more than half",
        "Quantized after training, eight bits a weight know as much as all, and four less than half.",
        "No loss with int8; a loss of more than two times with int4 (GPTQ).",
        ("paper/capo-quantized",),
        (as_much(_with(INT8, LONG), LONG), more(LONG, _with(INT4, LONG), 2.0, least=1.0)),
        small=MINIATURE,
    ),
    Claim(
        "3.3.9",
        "Experts cost little capacity",
        "A mixture of experts knows less per parameter, of all experts, than a dense model.",
        "1.3 times less after 1000 exposures, 1.5 times after 100 (32 experts, one for each token).",
        ("paper/capo-1000", "paper/capo-mlp", "paper/capo-moe"),
        (
            more(_peak(LONG), _peak(replace(EXPERTS, exposures=1000)), 1.3),
            more(_peak(BASE), _peak(EXPERTS), 1.5),
        ),
        small=("mini/capacity-experts",),
    ),
    Claim(
        "3.3.10",
        "Junk costs capacity",
        "Among junk that never comes again, in seven of eight windows, less is known after 100 to 1000 exposures than "
        "after 100 without junk.",
        "20 times less after 100 exposures; 3, 1.5 and 1.3 times after 300, 600 and 1000.",
        ("paper/capo-junk",),
        tuple(more(BASE, _in(JUNK, n), f) for n, f in ((100, 20.0), (300, 3.0), (600, 1.5), (1000, 1.3))),
        small=("mini/capacity-junk",),
    ),
    Claim(
        "3.3.11",
        "Junk that repeats costs nothing",
        "Among junk about a few people, who come again and again, as much is known as without.",
        "No loss.",
        ("paper/capo-junk",),
        (no_less(_in(REPEATED), BASE),),
        small=("mini/capacity-junk",),
    ),
    Claim(
        "3.3.12",
        "A token that names the source helps",
        "Among junk, people with a token of their own before each are known better than without it, worse than alone "
        "after 100 exposures, and as well after 300.",
        "2 times less after 100 exposures, no loss after 300.",
        ("paper/capo-junk",),
        (
            more(_in(LABELLED), _in(JUNK), 10.0),
            more(BASE, _in(LABELLED), 2.0),
            no_less(_in(LABELLED, 300), BASE),
        ),
        small=("mini/capacity-junk",),
    ),
    Claim(
        "5.1",
        "Canon layers make gated MLPs store more",
        "After 100 exposures attention with a gated MLP knows more with Canon-ABCD than without.",
        "10 to 15% more (Part 4.1, arXiv 2512.17351).",
        ("paper/capo",),
        (more(Knowledge("llama-rope", "ABCD"), Knowledge("llama-rope"), 1.12),),
        small=MINIATURE,
    ),
)
"""In the order of the paper; then what Part 4.1 found on capacity alone, part of its finding 5."""
