"""Canon layers in a model that exists: `add_canon` puts them in, `remove_canon` takes them out.

The model's own modules stay as they are. Each layer gets one more, `canon`, which holds its Canon layers, and hooks on
the modules around call them; so the weights are in the state dict, and whatever walks over modules finds them.
"""

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from canonlab.canon.cache import CACHE_NAMES, Sight, make_room, recall, sight
from canonlab.canon.layer import Canon
from canonlab.canon.table import FAMILIES, Site, Table, find_part, find_sites, require_points

SIGHT = "canon_sight"
"""The keyword argument by which a layer learns which positions are hidden. It goes with the model's own to attention,
so that a layer that is run again for its gradients gets the one that it was first run with."""
INITS = ("random", "identity")


def add_canon(
    model: nn.Module,
    points: str,
    *,
    kernel: int = 4,
    init: str = "random",
    scale: bool = False,
    residual: bool = True,
    activation: bool = False,
    frozen: bool = False,
    dynamic: bool = False,
    gate: bool = False,
    layers: Iterable[int] | None = None,
    table: Table | None = None,
) -> nn.Module:
    """Put Canon layers into `model`, in place, and return it.

    Args:
        model: One of transformers' that `FAMILIES` lists, with or without a head; or any module, with a `table`.
        points: Letters of `POINTS`, e.g. "ABCD" or "KVOM".
        kernel: Taps of each, 2 to 8.
        init: "random" as in the paper; "identity", for a model that is trained: its outputs stay what they are, bit by
            bit, until the first step.
        scale: Times 1/sqrt(kernel + 1); none with "identity", which it would not be.
        residual: Add the input of each.
        activation: SiLU after the convolution, before the residual.
        frozen: Keep the initial taps.
        dynamic, gate: Taps of each token's own, and a learned factor on what is added; both without effect at first.
        layers: The layers that get them, from 0; None for all.
        table: Where the points are in a model that is none of the families; its paths begin at `model`.

    The weights have dtype and device of the layer they are put in. The `config` of a model of transformers records what
    was added, as `config.canon`, which `canonlab.canon.from_pretrained` reads.

    Raises:
        ValueError: naming the module, where a point is not there, or Canon layers are already; nothing is changed then.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"add_canon: a {type(model).__name__} is no model, which it must be given: load it first")
    points = require_points(points)
    _check_init(init, scale=scale, residual=residual, activation=activation)
    host, name, stack, table_used = _find_layers(model, table)
    if any(isinstance(module, CanonPoints) for module in model.modules()):
        raise ValueError(f"add_canon: {type(model).__name__} has Canon layers already: remove_canon it first")
    chosen = _choose(layers, len(stack), name)
    sites = {i: find_sites(stack[i], points, table_used, f"{name}.{i}") for i in chosen}
    options: dict[str, Any] = {
        "kernel": kernel,
        "scale": scale,
        "residual": residual,
        "activation": activation,
        "frozen": frozen,
        "dynamic": dynamic,
        "gate": gate,
    }
    for i in chosen:
        if hasattr(stack[i], "canon"):
            raise ValueError(f"add_canon: {name}.{i} has an attribute 'canon' of its own")
    built = {i: CanonPoints(sites[i], **options) for i in chosen}
    hooks = [
        LayerHooks(layer, i, f"{name}.{i}", sites.get(i, []), table_used.attention) for i, layer in enumerate(stack)
    ]
    for i, layer in built.items():
        stack[i].canon = _like(layer, stack[i], init)
    for each in hooks:
        each.attach()
    if _sees_masks(host):
        HostHook(host).attach()
    config: Any = getattr(model, "config", None)
    if hasattr(config, "to_dict"):  # transformers'; one's own may be anything
        told = {"points": points, **options, "layers": None if layers is None else chosen}
        config.canon = {**told, "table": None if table is None else dataclasses.asdict(table)}
    return model


def remove_canon(model: nn.Module) -> nn.Module:
    """Take out what `add_canon` put into `model`, in place, and return it: it is as it was, in its present weights."""
    hooks = {id(owner): owner for owner in _owners(model)}
    if not hooks:
        raise ValueError(f"remove_canon: {type(model).__name__} has no Canon layers")
    for owner in hooks.values():
        owner.detach()
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if hasattr(config, "to_dict") and hasattr(config, "canon"):
            del config.canon
    return model


def prepare_cache(model: nn.Module, cache: Any) -> Any:
    """Make room for the Canon layers of `model` in an empty cache of transformers, which is returned.

    A model does so by itself at its first call. This is for a cache of which more is asked before: to record the past,
    so that positions can be taken back (`crop`), as assisted generation does.
    """
    for hooks in _owners(model):
        if isinstance(hooks, LayerHooks) and hooks.sites:
            make_room(cache, hooks.index, len(hooks.sites), hooks.name)
    return cache


class CanonPoints(nn.Module):
    """The Canon layers of one layer, by the names of their sites."""

    def __init__(self, sites: list[Site], **options: Any) -> None:
        super().__init__()
        for site in sites:
            self.add_module(site.name, Canon(site.width, **options))

    def forward(self, x: Tensor, site: Site, seen: Sight, memory: tuple[Any, int, int] | None) -> Tensor:
        """x (batch, time, channels) -> the same, mixed at `site`. memory: a cache, and the layer and state in it."""
        if x.ndim != 3:
            raise ValueError(f"Canon at {site.path}: x has shape {tuple(x.shape)}: must be (batch, time, width)")
        canon: Canon = getattr(self, site.name)
        if site.stop is None:
            return _mix(canon, x, seen, memory)
        rows = x.unflatten(-1, (site.groups, -1))
        part = rows[..., site.start : site.stop]
        mixed = _mix(canon, part.flatten(-2), seen, memory).view(part.shape)
        return torch.cat([rows[..., : site.start], mixed, rows[..., site.stop :]], -1).flatten(-2)


def _mix(canon: Canon, x: Tensor, seen: Sight, memory: tuple[Any, int, int] | None) -> Tensor:
    """Hidden positions count as zeros to those after them, and stay as they are."""
    h = x if seen.hidden is None else x.masked_fill(seen.hidden, 0)
    if memory is None:
        y = canon(h, seen.segments)
    else:
        cache, layer, state = memory
        y = canon(recall(cache, h, layer, state, canon.kernel - 1))[:, -x.shape[1] :].contiguous()
    return y if seen.hidden is None else torch.where(seen.hidden, x, y)


class LayerHooks:
    """What calls the Canon layers of one layer. It learns of mask and cache where attention is called with them."""

    def __init__(self, layer: nn.Module, index: int, name: str, sites: list[Site], attention: str) -> None:
        self.layer: Any = layer
        self.index, self.name = index, name
        self.sites = [SiteHook(self, site, state) for state, site in enumerate(sites)]
        self.attention = find_part(layer, attention, name)
        self.arguments = list(inspect.signature(self.attention.forward).parameters)
        self.handles: list[RemovableHandle] = []
        self.seen, self.cache = Sight(), None

    def attach(self) -> None:
        enter = self.attention.register_forward_pre_hook(self.enter, with_kwargs=True)
        self.handles = [enter, self.layer.register_forward_hook(self.leave)]
        for site in self.sites:
            site.attach()

    def detach(self) -> None:
        for handle in [*self.handles, *(handle for site in self.sites for handle in site.handles)]:
            handle.remove()
        if self.sites:
            del self.layer.canon

    def enter(self, attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        self.seen = kwargs.pop(SIGHT, Sight())
        self.cache = _argument(self.arguments, args, kwargs, *CACHE_NAMES) if self.sites else None
        if self.cache is not None:
            make_room(self.cache, self.index, len(self.sites), self.name)
        for site in self.sites:
            site.follow()
        return args, kwargs

    def leave(self, layer: nn.Module, args: Any, output: Any) -> None:
        self.seen, self.cache = Sight(), None


class SiteHook:
    """What calls one Canon layer, before or after the module of its site."""

    def __init__(self, owner: LayerHooks, site: Site, state: int) -> None:
        self.owner, self.site, self.state = owner, site, state
        self.module: nn.Module | None = None
        self.handles: list[RemovableHandle] = []

    def attach(self) -> None:
        self.module = find_part(self.owner.layer, self.site.path, self.owner.name)
        if self.site.on_input:
            self.handles = [self.module.register_forward_pre_hook(self.before, with_kwargs=True)]
        else:
            self.handles = [self.module.register_forward_hook(self.after)]

    def follow(self) -> None:
        """To the module that has taken the place of the one it was on: adapters wrap a projection, or unwrap it."""
        if self.module is not find_part(self.owner.layer, self.site.path, self.owner.name):
            for handle in self.handles:
                handle.remove()
            self.attach()

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (self.mix(args[0]), *args[1:]), kwargs
        name = next(iter(inspect.signature(module.forward).parameters))
        return args, {**kwargs, name: self.mix(kwargs[name])}

    def after(self, module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self.mix(output[0]), *output[1:])
        return self.mix(output)

    def mix(self, x: Tensor) -> Tensor:
        owner = self.owner
        memory = None if owner.cache is None else (owner.cache, owner.index, self.state)
        mixed: Tensor = owner.layer.canon(x, self.site, owner.seen, memory)
        return mixed


class HostHook:
    """Reads the mask of the module that runs the layers, and sends what it says to them."""

    def __init__(self, host: nn.Module) -> None:
        self.host = host
        self.arguments = list(inspect.signature(host.forward).parameters)
        self.handles: list[RemovableHandle] = []

    def attach(self) -> None:
        self.handles = [self.host.register_forward_pre_hook(self.look, with_kwargs=True)]

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()

    def look(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        def given(*names: str) -> Any:
            return _argument(self.arguments, args, kwargs, *names)

        x = given("input_ids", "inputs_embeds")
        if x is None:
            return args, kwargs  # the model says what is wrong
        seen = sight(given("attention_mask"), given("position_ids"), given(*CACHE_NAMES), x.shape[:2])
        return args, kwargs if seen.hidden is None and seen.segments is None else {**kwargs, SIGHT: seen}


def _argument(names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any], *wanted: str) -> Any:
    """The first of the `wanted` arguments of a call that is given and not None."""
    given = {**kwargs, **dict(zip(names, args, strict=False))}
    return next((given[name] for name in wanted if given.get(name) is not None), None)


def _sees_masks(host: nn.Module) -> bool:
    return "attention_mask" in inspect.signature(host.forward).parameters


def _find_layers(model: nn.Module, table: Table | None) -> tuple[nn.Module, str, list[Any], Table]:
    """The module that runs the layers, the path of their list, the list, and the table that fits."""
    if table is not None:
        prefix, root = "", model
    else:
        found = [(name, module) for name, module in model.named_modules() if type(module).__name__ in FAMILIES]
        if len(found) != 1:
            what = " and ".join(name or type(module).__name__ for name, module in found) or "none of them"
            raise ValueError(
                f"add_canon: {type(model).__name__} holds {what} of the families it knows "
                f"({', '.join(FAMILIES)}): name the modules in a table=Table(...)"
            )
        ((prefix, root),) = found
        table = FAMILIES[type(root).__name__]
    stack = find_part(root, table.layers, prefix or type(root).__name__)
    if not isinstance(stack, nn.ModuleList | nn.Sequential):
        raise ValueError(
            f"add_canon: {table.layers!r} of {type(root).__name__} is a {type(stack).__name__}, not a list"
        )
    host, path = root, table.layers.split(".")
    for end in range(len(path)):
        module = find_part(root, ".".join(path[:end]), "") if end else root
        if type(module).forward is not nn.Module.forward:
            host = module
    _check_host(host)
    return host, ".".join(part for part in (prefix, table.layers) if part), list(stack), table


def _check_host(host: nn.Module) -> None:
    parameters = inspect.signature(host.forward).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if _sees_masks(host) and not open_ended:
        raise ValueError(
            f"add_canon: {type(host).__name__}.forward takes an attention_mask, but no **kwargs to hand to its layers"
        )


def _choose(layers: Iterable[int] | None, count: int, name: str) -> list[int]:
    if layers is None:
        return list(range(count))
    numbers = list(layers) if isinstance(layers, Iterable) else []
    if not numbers or not all(isinstance(i, int) and not isinstance(i, bool) for i in numbers):
        raise ValueError(f"layers = {layers!r}: must be integers, one or more, from 0 to {count - 1}; None for all")
    chosen = sorted(set(numbers))
    for i in chosen:
        if not 0 <= i < count:
            raise ValueError(f"layers: {name} has no layer {i} (allowed: 0 to {count - 1})")
    return chosen


def _check_init(init: str, *, scale: bool, residual: bool, activation: bool) -> None:
    if init not in INITS:
        raise ValueError(f"init = {init!r}: must be one of {', '.join(INITS)}")
    if init == "identity" and scale:
        raise ValueError("init = 'identity': with scale the outputs would change; leave it out, or init='random'")
    if init == "identity" and activation and not residual:
        raise ValueError("init = 'identity': SiLU without the residual is never the identity")


def _like(points: CanonPoints, layer: nn.Module, init: str) -> CanonPoints:
    """In the dtype, on the device and in the mode of `layer`, initialised."""
    if init == "identity":
        for canon in points.children():
            assert isinstance(canon, Canon)
            with torch.no_grad():
                canon.weight.zero_()
                canon.weight[0] = 0.0 if canon.residual else 1.0
    like = next((p for p in layer.parameters() if p.is_floating_point()), None)
    if like is not None:
        points.to(like.device, like.dtype)
    return points.train(layer.training)


def _owners(model: nn.Module) -> Iterable[Any]:
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            owner = getattr(hook, "__self__", None)
            if isinstance(owner, LayerHooks | HostHook):
                yield owner
