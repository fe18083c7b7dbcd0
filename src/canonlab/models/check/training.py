"""Promises that training rests on: initialisation, Canon points, dtypes."""

from inspect import signature
from typing import Any

import torch
from torch import Tensor

from canonlab.checks import Broken, first_line
from canonlab.models.check.subject import TIME, WITH, Subject, difference, one_of, outputs
from canonlab.models.decoder import Decoder
from canonlab.models.mixers.base import Mixer

LONG = 512
"""Tokens over which half precision has to be near single precision."""

BF16_GAP = 0.1
"""Allowed root mean square error of bfloat16 against single precision, as a share; built-in mixers have 0.01."""


def initialisation(subject: Subject) -> str:
    """The parameters are those that the constructor leaves, the same for the same seed, and each layer's own."""
    left: list[dict[str, Tensor]] = []

    class Recorded(subject.config.cls):  # type: ignore[name-defined]
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            left.append({name: p.detach().clone() for name, p in self.named_parameters()})

    # by its parameters a constructor says whether it is to get its place
    Recorded.__init__.__signature__ = signature(subject.config.cls.__init__)  # type: ignore[attr-defined]
    model, again = (subject.in_decoder(mixer=Recorded).build(seed=7) for _ in range(2))
    mixers: list[Any] = [block.mixer for decoder in (model, again) for block in decoder.blocks]
    for mixer, constructed in zip(mixers, left, strict=True):
        for name, parameter in mixer.named_parameters():
            if not torch.equal(parameter, constructed[name]):
                raise Broken(f"{name} is not what the constructor left", "initialise in the constructor")
    for name, tensor in left[0].items():
        if not tensor.isfinite().all():
            raise Broken(f"{name} is infinite or NaN", "initialise what torch.empty reserves")
        if not torch.equal(tensor, left[2][name]):
            advice = "draw with PyTorch's generator, which the run's seed sets: torch.nn.init, torch.randn"
            raise Broken(f"{name} differs between two builds from one seed", advice)
    if shared := {id(p) for p in mixers[0].parameters()} & {id(p) for p in mixers[1].parameters()}:
        raise Broken(f"two layers share {len(shared)} parameters", "make parameters in the constructor")
    _require_no_late_parameters(model, subject.device)
    _require_no_memory(subject)
    return f"{len(left[0])} parameters are as constructed, and follow the seed"


def _require_no_late_parameters(model: Decoder, device: str) -> None:
    before = {name for name, _ in model.named_parameters()}
    with torch.no_grad():
        model.to(device)(torch.zeros(1, TIME, dtype=torch.int64, device=device))
    if late := {name for name, _ in model.named_parameters()} ^ before:
        raise Broken(f"{sorted(late)[0]} appears or vanishes in forward", "make parameters in the constructor")


def _require_no_memory(subject: Subject) -> None:
    """Parameters are counted, and weights are loaded, on a build whose tensors have a shape alone."""
    try:
        with torch.device("meta"):
            subject.in_decoder().build()
    except Exception as error:  # a user's constructor may raise anything
        advice = (
            "make all tensors in the constructor, none beside the class, and let nothing there depend on their values"
        )
        raise Broken(f"built without memory (on the device meta): {first_line(error)}", advice) from None


def point_b(subject: Subject) -> str:
    """Where the mixer calls canon(width), the layer that it gets has a part in its outputs."""
    asked: list[int] = []
    mixer = subject.build("B", asked)
    if not asked:
        advice = "call self.canon = canon(width) on the concatenated projections, if you want Canon-B"
        raise Broken("canon(width) is never called, so no B can be asked for", advice, passed=None)
    if len(asked) > 1:
        raise Broken(f"canon is called {len(asked)} times", "call it once, on the concatenated projections")
    bare = subject.build()
    with torch.no_grad():  # the same weights but those of the Canon layer
        bare.load_state_dict(mixer.state_dict(), strict=False)
    x = subject.tokens()
    if difference(outputs(bare, x), outputs(mixer, x)) <= subject.tolerance:
        raise Broken("the layer for B has no part in the outputs", "keep it, and pass the projections through it")
    return f"width {asked[0]:,} for a model of width {subject.width:,}"


def own_convolution(subject: Subject) -> str:
    """Where `Config` has `conv1d`, it switches a convolution on and off."""
    if "conv1d" not in subject.config.arguments:
        advice = "name it so if the mixer has a short convolution of its own"
        raise Broken("no Config field conv1d, so no b can be asked for", advice, passed=None)
    off, on = (sum(p.numel() for p in one_of(subject.build(point)).parameters()) for point in ("", "b"))
    if on <= off:
        raise Broken(f"{on:,} parameters with the convolution, {off:,} without", "build it only where conv1d is True")
    return f"{on - off:,} parameters"


def dtypes(subject: Subject) -> str:
    """Outputs have the dtype of x, and they and all gradients are finite and near those of single precision."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, LONG, subject.width, generator=draw, dtype=torch.float64).to(subject.device)
    gaps = {"float64": 0.0, "bfloat16": 0.0}
    for point in subject.points:
        single = _run(subject.build(point, dtype=torch.float32), x.float(), WITH[point] + "float32")
        with torch.autocast(x.device.type, torch.bfloat16):
            half = _run(subject.build(point, dtype=torch.float32), x.float(), WITH[point] + "bfloat16")
        double = _run(subject.build(point, dtype=torch.float64), x, WITH[point] + "float64")
        _require_double(subject.build(point, dtype=torch.float64), x, WITH[point])
        for name, y, limit in (("float64", double, 1e-3), ("bfloat16", half, BF16_GAP)):
            gap = ((y.double() - single.double()).norm() / single.double().norm()).item()
            if not gap <= limit:
                advice = "keep decays, cumulated sums, norms and states in float32 where x is narrower"
                raise Broken(f"{WITH[point]}{name} differs from float32 by {gap:.1%}", advice)
            gaps[name] = max(gaps[name], gap)
    return "finite; from float32: " + ", ".join(f"{name} {gap:.0e}" for name, gap in gaps.items())


PROMOTE = "take dtypes from x; for more than half precision use torch.promote_types(x.dtype, torch.float32)"


def _run(mixer: Mixer, x: Tensor, words: str) -> Tensor:
    """The outputs, after it is known that they have a right dtype and that all gradients are finite."""
    x = x.detach().clone().requires_grad_()
    try:
        y, _ = mixer(x, None, None)
    except Exception as error:  # the mixer may raise anything
        raise Broken(f"{words}: {first_line(error)}", PROMOTE) from None
    allowed = {x.dtype, torch.bfloat16} if torch.is_autocast_enabled(x.device.type) else {x.dtype}
    if y.dtype not in allowed:
        raise Broken(f"{words}: outputs are {y.dtype}", PROMOTE)
    if not y.isfinite().all():
        raise Broken(
            f"{words}: outputs are infinite or NaN", "exponentiate differences, never sums that grow with time"
        )
    if y.requires_grad:
        y.float().square().mean().backward()
    for name, parameter in [("x", x), *mixer.named_parameters()]:
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            advice = "look for 0/0, sqrt(0) and exp of large numbers, also in what a mask hides"
            raise Broken(f"{words}: the gradient of {name} is infinite or NaN", advice)
    return y.detach()


def _require_double(mixer: Mixer, x: Tensor, words: str) -> None:
    """Second differences of a smooth function are tiny; roundings to single precision on the way are not."""
    change = 1e-7 * x.flip(1)
    y = outputs(mixer, x)
    second = outputs(mixer, x + change) - 2 * y + outputs(mixer, x - change)
    if second.norm() > 1e-8 * y.norm():
        raise Broken(f"{words}float64 is computed in single precision", PROMOTE)
