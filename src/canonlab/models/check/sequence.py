"""Promises about one call: shapes, and what each output may depend on."""

from collections.abc import Iterator

import torch
from torch import Tensor

from canonlab.checks import Broken, first_line
from canonlab.models.check.subject import PACKED, TIME, Subject, difference, outputs, seen
from canonlab.models.mixers.base import Mixer

CUTS = (1, 2, 31, 64, 65, TIME - 1)
"""Positions from which on the input is another one."""

LENGTHS = (1, 2, 3, 5, 13, 31, 33, 61, 65, 127, 129)
"""Odd ones, primes, and one more and one less than powers of two."""

PADDING = (0, 1, 5, 70)
"""Tokens of padding before each row."""


def forward(subject: Subject) -> str:
    """x in, (y, state) out: y in the shape of x, finite, not 0, the same in each call; x is left as it was."""
    x = subject.tokens()
    for label, mixer in subject.variants():
        given = x.clone()
        with torch.no_grad():
            result = mixer(given, None, None)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)):
            raise Broken(f"{label}it returns {type(result).__name__}", "return (y, state)")
        y = result[0]
        if y.shape != x.shape:
            raise Broken(f"{label}y is {tuple(y.shape)} for x {tuple(x.shape)}", "return y in the shape of x")
        if not torch.equal(given, x):
            raise Broken(f"{label}x is changed by the call", "write to tensors of your own, not to x")
        if not y.isfinite().all():
            raise Broken(f"{label}outputs are infinite or NaN", "begin with smaller weights, or normalise")
        if not y.any():
            raise Broken(f"{label}all outputs are 0", "let y depend on x")
        if not torch.equal(y, outputs(mixer, x)):
            advice = "draw nothing in evaluation mode, and keep nothing between calls but in the state"
            raise Broken(f"{label}a second call gives other outputs", advice)
    return f"y has the shape of x, {tuple(x.shape)}, and size {y.square().mean().sqrt():.1g}"


def batch_independence(subject: Subject) -> str:
    """Each row gives alone what it gives in a batch."""
    x = subject.tokens(batch=3)
    gaps = []
    for label, mixer in _modes(subject, x):
        whole = outputs(mixer, x)
        for row in range(len(x)):
            what = f"{label}row {row} alone and in a batch"
            advice = "let no output depend on other rows: no statistics or sums over the batch"
            gaps.append(subject.agree(whole[row], outputs(mixer, x[row : row + 1])[0], what, advice))
    return seen(gaps, "rows alone and in a batch")


def causality(subject: Subject) -> str:
    """Outputs before a position stay as they are when tokens from there on change."""
    x = subject.tokens()
    gaps = []
    for label, mixer in _modes(subject, x):
        whole = outputs(mixer, x)
        for cut in CUTS:
            other = torch.cat([x[:, :cut], 10 * subject.tokens(seed=1)[:, cut:]], 1)
            what = f"{label}outputs before position {cut} when tokens from there on change"
            advice = "let y_t depend on x_1 .. x_t only: mask, shift, or begin sums over time at the start"
            gaps.append(subject.agree(whole[:, :cut], outputs(mixer, other)[:, :cut], what, advice))
    return seen(gaps, f"{len(CUTS)} futures changed")


def looks_ahead(subject: Subject) -> bool:
    """Whether outputs of the first half change with the tokens of the second half: `causality` in two calls a form."""
    half = TIME // 2
    x, other = (subject.tokens(1, seed=seed) for seed in (0, 1))
    other[:, :half] = x[:, :half]
    for _, mixer in subject.variants():
        before, after = (outputs(mixer, tokens)[:, :half] for tokens in (x, other))
        if not difference(before, after) <= subject.tolerance:
            return True
    return False


def _modes(subject: Subject, x: Tensor) -> Iterator[tuple[str, Mixer]]:
    """Every form of the mixer in evaluation and, unless it is random there, in training."""
    for label, mixer in subject.variants():
        yield label, mixer
        mixer.train()
        if torch.equal(outputs(mixer, x), outputs(mixer, x)):
            yield f"{label}in training, ", mixer


def any_length(subject: Subject) -> str:
    """The beginning of a sequence gives alone what it gives in the whole, at lengths that suit no chunk."""
    x = subject.tokens(time=2 * TIME)
    advice = "pad after the last token to the length that you need inside, and cut y"
    gaps = []
    for label, mixer in subject.variants():
        whole = outputs(mixer, x)
        for length in LENGTHS:
            what = f"{label}{length} tokens, alone and as the beginning of more"
            try:
                part = outputs(mixer, x[:, :length])
            except Exception as error:  # the mixer may raise anything
                raise Broken(f"{label}{length} tokens: {first_line(error)}", advice) from None
            gaps.append(subject.agree(whole[:, :length], part, what, advice))
    return seen(gaps, f"{', '.join(map(str, LENGTHS))} tokens")


def segments(subject: Subject) -> str:
    """Each of several segments packed into one row gives what it gives alone."""
    x, ids = subject.tokens(), subject.packed_segments()
    gaps = []
    for label, mixer in subject.variants():
        packed = outputs(mixer, x, ids)
        for row in range(len(x)):
            end = 0
            for number, length in enumerate(PACKED if row == 0 else PACKED[::-1]):
                part = slice(end, end := end + length)
                alone = outputs(mixer, x[row : row + 1, part])[0]
                what = f"{label}segment {number} ({length} tokens) packed and alone"
                advice = "begin anew where segment_ids changes; pass segment_ids to Canon and convolution"
                gaps.append(subject.agree(alone, packed[row, part], what, advice))
    return seen(gaps, f"{len(PACKED)} segments a row, packed and alone")


def padding(subject: Subject) -> str:
    """Rows with padding before them give what they give without, whatever stands in the padding."""
    time = max(PADDING) + 10
    x = subject.tokens(len(PADDING), time)
    ids = subject.padded_segments(PADDING, time)
    advice = "treat -1 as a segment of its own, which the tokens after it do not see"
    gaps = []
    for label, mixer in subject.variants():
        padded = outputs(mixer, x, ids)
        other = outputs(mixer, torch.where(ids[..., None] < 0, 10 * x, x), ids)
        for row, count in enumerate(PADDING):
            alone = outputs(mixer, x[row : row + 1, count:])[0]
            what = f"{label}after {count} tokens of padding"
            gaps.append(subject.agree(alone, padded[row, count:], what, advice))
            gaps.append(subject.agree(padded[row, count:], other[row, count:], f"{what} that are others", advice))
        _require_finite_padding(mixer, x, ids, label)
    return seen(gaps, f"{', '.join(map(str, PADDING))} tokens of padding")


def _require_finite_padding(mixer: Mixer, x: Tensor, ids: Tensor, label: str) -> None:
    """Outputs at padding are dropped, but a NaN there would reach gradients and the next block."""
    x = x.clone().requires_grad_()
    finite = []
    for given in (torch.zeros_like(ids), ids):
        y, _ = mixer(x, given, None)
        gradients = torch.autograd.grad(y[ids >= 0].sum(), x) if y.requires_grad else ()
        finite.append(all(tensor.isfinite().all() for tensor in (y, *gradients)))
    if finite == [True, False]:
        raise Broken(f"{label}padding gives infinite or NaN outputs or gradients", "let padding see itself")
