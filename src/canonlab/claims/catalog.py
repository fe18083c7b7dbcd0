"""The published findings as claims. Source: Physics of Language Models Part 4.1 (arXiv 2512.17351), findings 1 to 12.

Where a finding is about certain tasks, each of them has a contrast of its own; where it is about all, the contrast is
one of averages over tasks, since single tasks may be too easy, or too hard, to show a difference. Both are chosen so
that the paper's own cells agree. Factors that the paper names ("two to four times") are in `published` and not tested,
but for Depo's: twice as deep means as good at twice as many hops.
"""

from itertools import chain

from canonlab.claims.architecture import Architecture
from canonlab.claims.claim import Claim
from canonlab.claims.contrast import (
    MARGIN,
    Contrast,
    above,
    as_good,
    below,
    better,
    faster,
    in_order,
    on_average,
    twice_as_deep,
)

REASONING = ("depo", "brevo", "mano", "lano")
"""The tasks whose main metric is a share of right answers."""

PAPER = ("paper/depo1", "paper/depo2", "paper/brevo1", "paper/brevo2", "paper/mano", "paper/lano")
CAPO = "paper/capo"
GPU = tuple(f"gpu/{task}" for task in ("depo", "brevo", "mano", "lano", "capo"))

ROPE, ROPE_CANON = Architecture("llama-rope"), Architecture("llama-rope", "ABCD")
NOPE_CANON, QUARTER_CANON = Architecture("llama-nope", "ABCD"), Architecture("llama-rope-quarter", "ABCD")
ALIBI, HALIBI = Architecture("llama-alibi"), Architecture("llama-halibi")
GLA, GLA_CONV, GLA_CANON = (Architecture("gla", canon) for canon in ("", "b", "AbCD"))
MAMBA, MAMBA_CONV, MAMBA_CANON = (Architecture("mamba2-mlp", canon) for canon in ("", "b", "AbCD"))
GDN, GDN_CONV, GDN_CANON = (Architecture("gdn", canon) for canon in ("", "b", "AbCD"))
MIMETIC = Architecture("mamba2-mlp", "b", settings=(("mixer.init", "mimetic"),))
LINEAR = ("gla", "mamba2-mlp", "gdn")
HOPS = ("accuracy_k1", "accuracy_k2", "accuracy_k4")


def _copy() -> tuple[Contrast, ...]:
    one, two = Architecture("llama-rope", layers=1), Architecture("llama-rope", layers=2)
    canon = Architecture("llama-rope", "ABCD", layers=1)
    frozen = Architecture("llama-rope", "ABCD", layers=1, settings=(("canon_frozen", True),))
    return (
        *better(two, one, "copy"),
        *better(canon, one, "copy"),
        *better(frozen, one, "copy"),
        *as_good(canon, two, "copy"),
    )


def _points() -> tuple[Contrast, ...]:
    """Finding 4: each point alone is less than all; the residual; the activation."""
    found: list[Contrast] = []
    no_residual, activation = (("canon_residual", False),), (("canon_activation", True),)
    for model in ("llama-rope", "llama-nope"):
        for point in "ABCD":
            found.append(on_average(Architecture(model, "ABCD"), Architecture(model, point), *REASONING))
        without = Architecture(model, "D", settings=no_residual)
        found.append(on_average(Architecture(model, "D"), without, *REASONING))
    inside = Architecture("llama-rope", "B")
    found.append(on_average(inside, Architecture("llama-rope", "B", settings=no_residual), *REASONING))
    active = Architecture("llama-rope", "ABCD", settings=activation)
    return (*found, on_average(ROPE_CANON, active, *REASONING, least=-MARGIN))


def _mlps() -> tuple[Contrast, ...]:
    standard, moe = Architecture("gpt2-rope"), Architecture("llama-moe")
    return (
        *better(ROPE, standard, "mano", "brevo"),
        *better(standard, ROPE, "capo"),
        *better(ROPE_CANON, ROPE, "capo"),
        *better(Architecture("gpt2-relu2"), standard, "mano", "brevo"),
        *as_good(ROPE, Architecture("llama-relu2"), "mano", "brevo"),
        *better(Architecture("llama-moe", "ABC"), moe, "mano", "brevo", "capo"),
    )


def _outside() -> tuple[Contrast, ...]:
    """Finding 9."""
    outside = (on_average(Architecture(m, "ACD"), Architecture(m, "b"), *REASONING, least=-MARGIN) for m in LINEAR)
    harmless = (as_good(Architecture(m, "AbCD"), Architecture(m, "b"), *REASONING) for m in LINEAR)
    return (*outside, *chain(*harmless), on_average(GLA_CANON, MAMBA_CANON, *REASONING, least=-MARGIN))


def _everywhere() -> tuple[Contrast, ...]:
    """Finding 10."""
    found: list[Contrast] = []
    for model in LINEAR:
        linear = Architecture(model, "AbCD")
        found += [*better(ROPE_CANON, linear, "depo"), twice_as_deep(ROPE_CANON, linear)]
        found += better(linear, ROPE_CANON, "capo")
    return tuple(found)


def _retrieval() -> tuple[Contrast, ...]:
    """Finding 11."""
    found = [above(ROPE_CANON, 0.99, "depo", "accuracy_k1")]
    for model in LINEAR:
        linear = Architecture(model, "AbCD")
        hybrid = Architecture(f"{model},{model},{model},llama-rope", "AbCD")
        found += [below(linear, 0.99, "depo", "accuracy_k1"), *better(hybrid, linear, "depo")]
    return tuple(found)


CLAIMS = (
    Claim(
        "1",
        "Horizontal flow is missing",
        "To copy, a Transformer needs two layers, or one and Canon layers, whose weights may as well be random.",
        "Two layers of attention, or one with Canon layers, learnt or frozen, copy perfectly; one layer alone doesn't.",
        ("paper/copy",),
        _copy(),
        small=("mini/claims-1", "laptop/copy"),
    ),
    Claim(
        "2",
        "Canon layers lift RoPE",
        "With Canon-ABCD, RoPE attention is better on all five tasks, and on Depo as good at twice the hops.",
        "Reasoning depth 2 to 4 times, breadth and length of manipulation about 30% more, capacity 10 to 15% more.",
        (*PAPER, CAPO),
        (*better(ROPE_CANON, ROPE, *REASONING, "capo"), twice_as_deep(ROPE_CANON, ROPE)),
        small=("mini/claims-2", "laptop/depo", *GPU),
    ),
    Claim(
        "2.1",
        "Each step of reasoning is learnt faster",
        "Hops are learnt one after another, and with Canon-ABCD each of them in fewer steps.",
        "Curves of Depo's accuracy by hops over training.",
        ("paper/depo1", "paper/depo2"),
        (
            *in_order(ROPE_CANON, "depo", *HOPS),
            *in_order(ROPE, "depo", *HOPS),
            *faster(ROPE_CANON, ROPE, "depo", *HOPS),
        ),
        small=("mini/claims-2", "laptop/depo", "gpu/depo"),
    ),
    Claim(
        "3",
        "Positions hardly matter beside Canon layers",
        "With Canon-ABCD, NoPE is as good as RoPE (not on Lano) and on average better than ALiBi and H-ALiBi without; "
        "a quarter of RoPE is on average better than both NoPE and RoPE.",
        "NoPE with Canon layers matches RoPE with them, less so on Lano; a quarter of RoPE is best on the whole.",
        PAPER,
        (
            *as_good(NOPE_CANON, ROPE_CANON, "depo", "brevo", "mano"),
            *(on_average(NOPE_CANON, other, *REASONING) for other in (ALIBI, HALIBI)),
            *(on_average(QUARTER_CANON, other, *REASONING) for other in (ROPE_CANON, NOPE_CANON)),
        ),
        small=("mini/claims-3", *GPU[:3]),
    ),
    Claim(
        "4",
        "The four points add up, and the residual matters",
        "On average over tasks, Canon-ABCD is better than any point alone, points B and D are better with the "
        "residual, and Canon-ABCD is as good without an activation.",
        "Each point helps and all four help most; without the residual training is less stable.",
        ("paper/canon-sets",),
        _points(),
        small=("mini/claims-4",),
    ),
    Claim(
        "5",
        "Gated MLPs reason better and store less",
        "Gated MLPs are better on Mano and Brevo than standard ones and store less; with Canon layers they store more; "
        "ReLU^2 helps standard MLPs and not gated ones; Canon-ABC helps a mixture of experts.",
        "At 100 exposures a gated MLP stores about 1.3 times less; Canon layers recover 10 to 15%, and half of what a "
        "mixture of experts loses.",
        ("paper/mlp", "paper/brevo1", "paper/brevo2", "paper/mano", CAPO, "paper/capo-moe"),
        _mlps(),
        small=("mini/claims-5", "gpu/capo"),
    ),
    Claim(
        "6",
        "GLA with Canon layers passes Mamba2",
        "Canon-AbCD lifts GLA on all five tasks, and on average above what its own conv1d does and above Mamba2.",
        "GLA goes from one hop to four.",
        (*PAPER, CAPO),
        (
            *better(GLA_CANON, GLA, *REASONING, "capo"),
            *(on_average(GLA_CANON, other, *REASONING) for other in (GLA_CONV, MAMBA_CONV)),
        ),
        small=("mini/claims-6", *GPU),
    ),
    Claim(
        "7",
        "Mamba2's conv1d does more than its state space",
        "On average over tasks, Mamba2 is worse without its conv1d, and then no better than plain GLA; Canon-AbCD adds "
        "to the conv1d; the mimetic initialisation hurts.",
        "The conv1d accounts for most of what Mamba2 has over GLA.",
        (*PAPER, "paper/linear"),
        (
            on_average(MAMBA_CONV, MAMBA, *REASONING),
            on_average(GLA, MAMBA, *REASONING, least=-MARGIN),
            on_average(MAMBA_CANON, MAMBA_CONV, *REASONING),
            on_average(MAMBA_CONV, MIMETIC, *REASONING),
        ),
        small=("mini/claims-7",),
    ),
    Claim(
        "8",
        "GDN rests on its conv1d for Mano and Lano only",
        "Without its conv1d GDN still does as well as Mamba2 on Depo and Brevo; on Mano and Lano it loses; Canon-AbCD "
        "adds a little there.",
        "Its own cells have it lose on all four tasks without the conv1d, the least on Brevo.",
        PAPER,
        (
            *as_good(GDN, MAMBA_CONV, "depo", "brevo"),
            *better(GDN_CONV, GDN, "mano", "lano"),
            *better(GDN_CANON, GDN_CONV, "mano", "lano"),
        ),
        small=("mini/claims-8", "gpu/mano", "gpu/lano"),
    ),
    Claim(
        "9",
        "Canon layers outside the mixer do as well as the conv1d inside",
        "In GLA, Mamba2 and GDN, Canon-ACD is on average as good as the conv1d, and Canon-AbCD is on no task worse "
        "than it; with Canon-AbCD, GLA is on average as good as Mamba2.",
        "Canon layers never hurt, and plain GLA with them is nearly enough.",
        (*PAPER, "paper/linear"),
        _outside(),
        small=("mini/claims-9", *GPU[:4]),
    ),
    Claim(
        "10",
        "With Canon layers everywhere, Transformers reason deeper and linear models store more",
        "RoPE attention with full Canon is better on Depo than each linear family with it, and as good at twice the "
        "hops; each linear family stores more per parameter.",
        "Two to four times as deep; about 1.4 times the capacity.",
        ("paper/depo1", "paper/depo2", CAPO),
        _everywhere(),
        small=("mini/claims-10", "gpu/depo", "gpu/capo"),
    ),
    Claim(
        "11",
        "Linear models fail by errors of retrieval that add up",
        "With full Canon, attention answers one hop more than 99% of the time and linear models less; one layer of "
        "attention in four makes them better on Depo.",
        "One-hop accuracy of linear models stays below 99%, and hybrids reason as deep as Transformers.",
        ("paper/depo1", "paper/depo2", "paper/hybrids"),
        _retrieval(),
        small=("mini/claims-11", "gpu/depo"),
    ),
    Claim(
        "12",
        "At 1.3B and 100B tokens noise hides most of it",
        "On real text Canon layers change common-sense scores by less than seeds do, two hops are at chance, linear "
        "models trail on retrieval, and less RoPE generalises to longer passages.",
        "Scores differ by up to 4 points between seeds, 9 on retrieval.",
        recipes=(),
        contrasts=(),  # canonlab has no real text to train on, so no run of its own could decide any
    ),
)
"""In the order of the paper."""
