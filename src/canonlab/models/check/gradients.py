"""Promises about gradients: right ones, and over segments, padding and states those of each part alone.

What is differentiated is always sum(y * weights), with random weights.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from canonlab.checks import Broken
from canonlab.models.check.sequence import CUTS, PADDING
from canonlab.models.check.subject import Subject, outputs, seen
from canonlab.models.decoder import tensors_of
from canonlab.models.mixers.base import Mixer, MixerState

STEP, GRADIENT_GAP, ROUNDING = 1e-5, 1e-4, 1e-10
"""Of finite differences: how far, the allowed relative error, and what share of the sum's terms is rounding."""

LEAST = 1e-6
"""The share of the sum's terms below which a gradient is compared as if it were that large: it may be rounding."""

ZERO = torch.zeros(())

CALLS = (1, 2, 3, 10)
"""Tokens of calls that go on with a state, most of them fewer than a convolution reaches back."""


def causal_gradients(subject: Subject) -> str:
    """The derivatives of outputs before a position by inputs from there on are 0."""
    weights, gaps = subject.tokens(seed=2), []
    advice = "let your own backward add up over y_t and later outputs for x_t, no earlier ones"
    for label, mixer in subject.variants():
        x, y = _call(mixer, subject.tokens())
        for cut in CUTS:
            (found,) = by_each((y * weights)[:, :cut], [x])
            what = f"{label}derivatives of outputs before position {cut} by inputs from there on"
            gaps.append(equal(subject, ZERO, found[:, cut:], found.abs().max().item(), what, advice))
    most = max(gaps)
    return f"{len(CUTS)} pasts by later inputs: {f'at most {most:.0e} of the largest' if most else '0'}"


def gradients(subject: Subject) -> str:
    """Derivatives of x and of each parameter along a random direction against central differences."""
    weights, count = subject.tokens(seed=2), 0
    for label, mixer in subject.variants():
        x, y = _call(mixer, subject.tokens())
        if not y.requires_grad:
            raise Broken(f"{label}outputs carry no gradient", "no detach, no_grad or .data on the way to y")

        def total(mixer: Mixer = mixer, x: Tensor = x) -> float:
            return (outputs(mixer, x) * weights).sum().item()

        wanted = {"x": x, **_parameters(mixer)}
        found = torch.autograd.grad((y * weights).sum(), list(wanted.values()), allow_unused=True)
        nothing = ROUNDING * (y * weights).abs().sum().item()
        for (name, tensor), gradient in zip(wanted.items(), found, strict=True):
            numeric = _require_slope(f"{label}the derivative along {name}", tensor, gradient, total, nothing)
            if gradient is None and abs(numeric) <= nothing:
                raise Broken(f"{label}{name} has no influence on the outputs", "delete it, or make it a buffer")
            count += 1
    return f"{count} derivatives: as finite differences, within {GRADIENT_GAP:.0e}"


def segment_gradients(subject: Subject) -> str:
    """Packed into rows, segments have the gradients of x that they have alone, and parameters the sum of all."""
    ids = subject.packed_segments()
    advice = "begin anew in backward too where segment_ids changes, and add up over all segments and rows"
    return seen(_as_alone(subject, subject.tokens(), ids, advice), "of segments, packed and alone")


def padding_gradients(subject: Subject) -> str:
    """Padding before rows changes no gradient, and has none."""
    time = max(PADDING) + 10
    ids = subject.padded_segments(PADDING, time)
    advice = "leave padding out of all that your own backward adds up"
    return seen(_as_alone(subject, subject.tokens(*ids.shape), ids, advice), "of rows, padded and alone")


def _as_alone(subject: Subject, tokens: Tensor, ids: Tensor, advice: str) -> list[float]:
    """How the gradients of the segments of `tokens` (batch, time, width) differ from those of each alone."""
    batch, time = ids.shape
    weights = subject.tokens(batch, time, seed=2) * (ids >= 0)[..., None]
    gaps: list[float] = []
    for label, mixer in subject.variants():
        parameters = _parameters(mixer)
        x, y = _call(mixer, tokens, ids)
        terms = y * weights
        sums = [torch.zeros_like(parameter) for parameter in parameters.values()]
        for row, number, part in _segments(ids):
            one, y_one = _call(mixer, tokens[row : row + 1, part])
            alone, *more = by_each(y_one * weights[row : row + 1, part], [one, *parameters.values()])
            sums = [total + gradient for total, gradient in zip(sums, more, strict=True)]
            (inside,) = by_each(terms[row, part], [x])
            outside = inside.clone()
            outside[row, part] = 0
            largest, what = size(alone, terms), f"{label}segment {number} of row {row}: derivatives by"
            gaps += [
                equal(subject, ZERO, outside, largest, f"{what} inputs outside of it", advice),
                equal(
                    subject,
                    alone[0],
                    inside[row, part],
                    largest,
                    f"{what} its own inputs, in the batch and alone",
                    advice,
                ),
            ]
        together = by_each(terms, list(parameters.values()))
        for name, total, gradient in zip(parameters, sums, together, strict=True):
            what = f"{label}the gradient of {name}, and the sum of those of segments alone"
            gaps.append(equal(subject, total, gradient, size(total, terms), what, advice))
    return gaps


def _segments(ids: Tensor) -> Iterator[tuple[int, int, slice]]:
    """Row, number and place of each run of one id in ids (batch, time) that is no padding."""
    for row, line in enumerate(ids):
        values, lengths = torch.unique_consecutive(line, return_counts=True)
        ends = [0, *lengths.cumsum(0).tolist()]
        places = [slice(*pair) for value, pair in zip(values.tolist(), pairwise(ends), strict=True) if value >= 0]
        for number, place in enumerate(places):
            yield row, number, place


def state_gradients(subject: Subject) -> str:
    """Calls that go on with a state, which is a constant to them: gradients of x as those of one call on the whole.

    Those of parameters are compared with finite differences in which states stay as they were: in the whole, parameters
    reach later outputs through earlier tokens, too.
    """
    subject.state(subject.build(), 1, 1)
    time = sum(CALLS)
    gaps: list[float] = []
    given = {
        "one segment": None,
        "packed segments": subject.packed_segments()[:, 34 : 34 + time],  # three end, between calls and within
        "padded rows": subject.padded_segments((2, 5), time),
    }
    for label, mixer in subject.variants():
        for words, ids in given.items():
            calls = _Calls(subject, mixer, ids)
            gaps += calls.as_whole(f"{label}{words}")
            if words == "packed segments":
                calls.require_slopes(f"{label}{words}")
    return seen(gaps, f"calls of {', '.join(map(str, CALLS))} tokens")


OVERWRITTEN = "modified by an inplace operation"
"""What PyTorch says where a tensor that a gradient needs was written to."""


class _Calls:
    """Calls of `CALLS` tokens, each with the state before it and the gradients of its x and of all parameters."""

    def __init__(self, subject: Subject, mixer: Mixer, ids: Tensor | None) -> None:
        self.subject, self.mixer, self.ids = subject, mixer, ids
        self.x, self.weights = (subject.tokens(2, sum(CALLS), seed) for seed in (0, 2))
        if ids is not None:
            self.weights *= (ids >= 0)[..., None]
        self.parameters = _parameters(mixer)
        self.places = [slice(*pair) for pair in pairwise(accumulate((0, *CALLS)))]
        self.states = [[tensor.clone() for tensor in tensors_of(self._state())]]
        self.gradients = [self._gradients(place) for place in self.places]

    def _state(self, tensors: Sequence[Tensor] = ()) -> MixerState:
        state = self.subject.state(self.mixer, *self.x.shape[:2])
        for tensor, kept in zip(tensors_of(state), tensors, strict=False):
            tensor.copy_(kept)
        return state

    def _given(self, place: slice) -> tuple[Tensor, Tensor | None]:
        return self.x[:, place], None if self.ids is None else self.ids[:, place]

    def _gradients(self, place: slice) -> list[Tensor]:
        state = self._state(self.states[-1])
        x, y = _call(self.mixer, *self._given(place), state)
        try:
            found = by_each(y * self.weights[:, place], [x, *self.parameters.values()])
        except RuntimeError as error:
            if OVERWRITTEN not in str(error):
                raise
            advice = "read the state as a copy, state[...].clone(), if it is to train with one"
            raise Broken("no gradients in a call with a state, which is overwritten", advice, passed=None) from None
        self.states.append([tensor.detach().clone() for tensor in tensors_of(state)])
        return found

    def as_whole(self, words: str) -> Iterator[float]:
        """How the gradients of x differ from those of the same outputs in one call without a state."""
        x, y = _call(self.mixer, self.x, self.ids)
        terms = y * self.weights
        for number, (place, (found, *_)) in enumerate(zip(self.places, self.gradients, strict=True)):
            expected = by_each(terms[:, place], [x])[0][:, place]
            what = (
                f"{words}, call {number} of {CALLS[number]} tokens: derivatives by its inputs, with a state and without"
            )
            yield equal(self.subject, expected, found, size(expected, terms), what, ADVICE)

    def require_slopes(self, words: str) -> None:
        """The gradients of parameters, added up over all calls, are what finite differences say."""

        def terms() -> list[Tensor]:
            calls = zip(self.places, self.states, strict=False)  # there is one more state
            return [outputs(self.mixer, *self._given(p), self._state(s)) * self.weights[:, p] for p, s in calls]

        nothing = ROUNDING * sum(part.abs().sum().item() for part in terms())
        for index, (name, parameter) in enumerate(self.parameters.items(), 1):
            gradient = torch.stack([found[index] for found in self.gradients]).sum(0)
            what = f"{words} in calls with a state, the derivative along {name}"
            _require_slope(what, parameter, gradient, lambda: sum(part.sum().item() for part in terms()), nothing)


ADVICE = "let the gradients of a call with a state, however few its tokens, be those of the same tokens without"


def _parameters(mixer: Mixer) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in mixer.named_parameters() if parameter.requires_grad}


def _call(mixer: Mixer, x: Tensor, ids: Tensor | None = None, state: MixerState | None = None) -> tuple[Tensor, Tensor]:
    """x as what gradients are wanted of, and the outputs."""
    x = x.detach().clone().requires_grad_()
    return x, mixer(x, ids, state)[0]


def by_each(terms: Tensor, wanted: Sequence[Tensor]) -> list[Tensor]:
    """Of the sum of `terms`, by each of `wanted`, to be had again."""
    if not terms.requires_grad:
        return [torch.zeros_like(tensor) for tensor in wanted]
    return list(torch.autograd.grad(terms.sum(), wanted, retain_graph=True, materialize_grads=True, allow_unused=True))


def size(gradient: Tensor, terms: Tensor) -> float:
    """What a difference is measured by: the largest number, unless that may be rounding."""
    return max(gradient.abs().max().item(), LEAST * terms.abs().sum().item())


def equal(subject: Subject, expected: Tensor, found: Tensor, largest: float, what: str, advice: str) -> float:
    """Their largest difference as a share of `largest`; Broken where that is too much."""
    gap = (found - expected).abs().max().item() / largest if largest else 0.0
    if not gap <= subject.tolerance:
        raise Broken(f"{what}: differ by {gap:.1g} of the largest", advice)
    return gap


def _require_slope(
    what: str, tensor: Tensor, gradient: Tensor | None, total: Callable[[], float], nothing: float
) -> float:
    """The central difference of `total` when `tensor` moves along a random direction; Broken where the gradient along
    it is another one, by more than `nothing`."""
    tensor = _real(tensor)
    gradient = torch.zeros_like(tensor) if gradient is None else _real(gradient)
    direction = _direction(tensor)
    numeric = _slope(total, tensor, direction)
    exact = (gradient * direction).sum().item()
    usual = (gradient.norm() * direction.norm() / direction.numel() ** 0.5).item()
    gap = abs(numeric - exact) / max(abs(numeric), usual) if abs(numeric - exact) > nothing else 0.0
    if gap > GRADIENT_GAP:
        advice = "no detach, no_grad or .data on the way to y; test your own backward"
        raise Broken(f"{what} is {exact:.4g}, finite differences give {numeric:.4g}", advice)
    return numeric


def _real(tensor: Tensor) -> Tensor:
    """The tensor itself, or a view of the two parts of a complex one."""
    return torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()


def _direction(tensor: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    scale = tensor.square().mean().sqrt().clamp(min=1e-2)
    return scale * torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype).to(tensor.device)


@torch.no_grad()
def _slope(total: Callable[[], float], tensor: Tensor, direction: Tensor) -> float:
    kept, sums = tensor.clone(), []
    for sign in (1, -1):
        tensor.copy_(kept + sign * STEP * direction)
        sums.append(total())
    tensor.copy_(kept)
    return (sums[0] - sums[1]) / (2 * STEP)
