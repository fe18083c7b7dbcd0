"""Promises about the state: what decoding with a cache rests on."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from canonlab.checks import Broken
from canonlab.models.check.subject import TIME, VOCABULARY, Subject, draw_zeros, one_of, outputs, seen
from canonlab.models.decoder import tensors_of
from canonlab.models.mixers.base import Mixer
from canonlab.models.mlp import MLPConfig

CHUNKS = ((64, 64), (2, 63, 63), (39, 2, 3, 62, 22), (125, 3), (66, 4, 58))
"""Ways to cut TIME tokens into calls of more than one: at, before and after the ends of segments and powers of two."""


def state_layout(subject: Subject) -> str:
    """Fixed in size, written in place, the batch first."""
    for label, mixer in subject.variants():
        small, large = ({k: v.shape for k, v in _named(subject.state(mixer, batch, TIME))} for batch in (3, 5))
        for name, shape in small.items():
            expected = torch.Size([5, *shape[1:]])
            if not shape or shape[0] != 3 or large.get(name) != expected:
                found = f"{tuple(shape)} for 3 rows and {tuple(large.get(name, ()))} for 5"
                raise Broken(f"{label}state {name} is {found}", "put the batch first in every tensor: (batch, ...)")
        _require_in_place(subject, mixer, label)
    return _memory(one_of(subject.build()))


def _memory(mixer: Mixer) -> str:
    some, more = (
        sum(t.nbytes for t in tensors_of(mixer.init_state(1, max_len, torch.float32, torch.device("cpu"))))
        for max_len in (TIME, 2 * TIME)
    )
    each = (more - some) // TIME
    fixed = f"{some - each * TIME:,} bytes a sequence"
    return f"{fixed}{f' and {each:,} a token of max_len' if each else ''} in float32"


def _require_in_place(subject: Subject, mixer: Mixer, label: str) -> None:
    state = subject.state(mixer, 2, 9)
    before = {name: (tensor, tensor.data_ptr(), tensor.shape) for name, tensor in _named(state)}
    returned: Any = None
    for length in (4, 1, 4):
        with torch.no_grad():
            _, returned = mixer(subject.tokens(2, length), None, state)
    after = dict(_named(state))
    for name in before | after:
        if name not in before or name not in after:
            raise Broken(f"{label}state {name} comes or goes in a call", "make all tensors in init_state")
        tensor, pointer, shape = before[name]
        if after[name].shape != shape:
            raise Broken(f"{label}state {name} grows from {tuple(shape)} to {tuple(after[name].shape)}", FIXED)
        if after[name] is not tensor or tensor.data_ptr() != pointer:
            raise Broken(f"{label}state {name} is another tensor after a call", FIXED)
    if returned is not state:
        raise Broken(f"{label}another state is returned than was given", "update the given state, and return it")


FIXED = "reserve max_len in init_state, and write in place: tensor.copy_(...), tensor[...] = ..."


def _named(tree: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        name = f"{prefix}{key}"
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, dict | list | tuple):
            yield from _named(value, f"{name}.")
        else:
            advice = "keep only tensors, which a reordering of beams reaches"
            raise Broken(f"state {name} is of type {type(value).__name__}", advice)


def chunks(subject: Subject) -> str:
    """Any cutting of a sequence into calls of several tokens gives what one call without a state gives."""
    advice = "begin from the state, and leave in it what the next call needs; the state has a segment too"
    gaps = []
    for label, mixer in subject.variants():
        for words, x, ids, real in _sequences(subject):
            whole = outputs(mixer, x, ids)
            for lengths in CHUNKS:
                parts = _in_parts(subject, mixer, x, ids, lengths)
                what = f"{label}{words} in chunks of {', '.join(map(str, lengths))}"
                gaps.append(subject.agree(whole[real], parts[real], what, advice))
    return seen(gaps, f"{len(CHUNKS)} ways to cut {TIME} tokens")


def _sequences(subject: Subject) -> Iterator[tuple[str, Tensor, Tensor | None, Tensor]]:
    """Words, x, segment_ids, and where in them there is no padding."""
    x, packed, padded = subject.tokens(), subject.packed_segments(), subject.padded_segments((3, 70))
    yield "one segment", x, None, packed >= 0
    yield "packed segments", x, packed, packed >= 0
    yield "padded rows", x, padded, padded >= 0


def _in_parts(subject: Subject, mixer: Mixer, x: Tensor, ids: Tensor | None, lengths: tuple[int, ...]) -> Tensor:
    """The outputs of calls of these lengths, which begin with an empty state."""
    state = subject.state(mixer, *x.shape[:2])
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    cut = [slice(*pair) for pair in pairwise(ends)]
    return torch.cat([outputs(mixer, x[:, s], None if ids is None else ids[:, s], state) for s in cut], 1)


def steps(subject: Subject) -> str:
    """One token at a time: from the start, over segments, and after a prefill."""
    advice = "make the step for one token equal to the whole; None for segment_ids is segment 0"
    gaps = []
    for label, mixer in subject.variants():
        for words, x, ids, real in _sequences(subject):
            whole = outputs(mixer, x, ids)
            parts = _in_parts(subject, mixer, x, ids, (1,) * TIME)
            gaps.append(subject.agree(whole[real], parts[real], f"{label}{words}, token by token", advice))
        x = subject.tokens()
        state = subject.state(mixer, 2, TIME)
        outputs(mixer, x[:, :-3], None, state)
        zero = torch.zeros(2, 1, dtype=torch.int64, device=subject.device)
        found = torch.cat([outputs(mixer, x[:, t : t + 1], zero, state) for t in range(TIME - 3, TIME)], 1)
        gaps.append(subject.agree(outputs(mixer, x)[:, -3:], found, f"{label}after a prefill", advice))
    return seen(gaps, f"{TIME} steps, and steps after a prefill")


def reorder(subject: Subject) -> str:
    """After an index_select over all tensors of the state, each row goes on as the row that it was taken from."""
    index = torch.tensor([2, 0, 0], device=subject.device)
    x, more = subject.tokens(3), subject.tokens(3, 5, seed=1)
    gaps = []
    for label, mixer in subject.variants():
        state = subject.state(mixer, 3, TIME + 5)
        outputs(mixer, x, None, state)
        for tensor in tensors_of(state):
            tensor.copy_(tensor.index_select(0, index))
        found = outputs(mixer, more, None, state)
        expected = outputs(mixer, torch.cat([x[index], more], 1))[:, -5:]
        advice = "keep all that is remembered in the state's tensors, nothing in the module"
        gaps.append(subject.agree(expected, found, f"{label}rows after a reordering of beams", advice))
    return seen(gaps, "beams go on as their parents")


def in_decoder(subject: Subject) -> str:
    """Two blocks with all Canon points that they can have: prefill and steps give the logits of one call.

    The mixers' outputs are brought to size 1, or the residual connection could hide them.
    """
    mixer = subject.build()
    subject.state(mixer, 1, 1)
    size = outputs(mixer, subject.tokens()).square().mean().sqrt()
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(VOCABULARY, (2, TIME), generator=draw).to(subject.device)
    segments = subject.packed_segments()
    gaps, sets = [], [f"A{point}CDOM" for point in subject.points]
    for points in sets:
        model = subject.in_decoder(points, MLPConfig("gated", 2 * subject.width)).build().eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            draw_zeros(model)
        model = (model.double() if subject.dtype == torch.float64 else model).to(subject.device)
        for block in model.blocks:
            block.mixer.register_forward_hook(lambda _, inputs, result: (result[0] / size, result[1]))  # type: ignore[union-attr]
        with torch.no_grad():
            whole = model(ids, segments).logits
            state = model.init_state(2, TIME)
            cuts = [slice(0, 77), *(slice(t, t + 1) for t in range(77, TIME))]
            found = torch.cat([model(ids[:, s], segments[:, s], state).logits for s in cuts], 1)
        what = f"logits of two blocks with Canon {points}, prefill and steps"
        gaps.append(subject.agree(whole, found, what, "share nothing between instances of the class"))
    return seen(gaps, f"two blocks, Canon {', '.join(sets)}")
