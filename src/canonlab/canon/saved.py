"""Loading what `save_pretrained` wrote of a model with Canon layers."""

import inspect
import os
from typing import Any

from torch import nn

from canonlab.canon.add import add_canon
from canonlab.canon.table import Table


def from_pretrained(path: str | os.PathLike[str], cls: Any = None, **arguments: Any) -> Any:
    """The model that `save_pretrained` wrote to `path`, with its Canon layers.

    The weights are in its files and what they belong to in config.json, as `canon`; transformers' own loading, which
    knows nothing of them, would leave them out and warn.

    Args:
        path: A folder, or a name on the hub.
        cls: One of transformers' classes, e.g. LlamaForSequenceClassification; None for the one that was saved.
        arguments: Of the class's `from_pretrained`: dtype, device_map, revision, token, ...

    Raises:
        ValueError: there are no Canon layers in config.json, or others than the files have; `cls` is no class
            of a model.
    """
    import transformers

    config = arguments.pop("config", None) or transformers.AutoConfig.from_pretrained(path, **_where(arguments))
    told = _arguments(getattr(config, "canon", None), path)
    if cls is None:
        name = (getattr(config, "architectures", None) or ["?"])[0]
        cls = getattr(transformers, str(name), None)
        if not _is_model(cls):
            raise ValueError(f"{path}: transformers has no model {name!r}: name a class as cls=")
    if not _is_model(cls):
        raise ValueError(f"cls = {cls!r}: must be the class of a model, such as transformers.LlamaForCausalLM, or None")

    def build(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        cls.__init__(self, *args, **kwargs)
        add_canon(self, **told)

    loader: Any = type(cls.__name__, (cls,), {"__init__": build, "__module__": cls.__module__})
    model, info = loader.from_pretrained(path, config=config, output_loading_info=True, **arguments)
    for key, what in (
        ("missing_keys", "no weights of the Canon layer"),
        ("unexpected_keys", "config.json tells of no Canon layer"),
    ):
        if wrong := [name for name in info[key] if ".canon." in name]:
            raise ValueError(f"{path}: {what} {min(wrong)!r}")
    model.__class__ = cls
    return model


def _arguments(told: Any, path: object) -> dict[str, Any]:
    """Those of `add_canon` that a configuration tells of."""
    if not isinstance(told, dict):
        raise ValueError(f"{path}: config.json tells of no Canon layers: load it with transformers, then add_canon")
    try:
        table = told.get("table")
        rows = None if table is None else Table(**{key: _tuples(value) for key, value in table.items()})
        arguments = {**told, "table": rows}
        inspect.signature(add_canon).bind(None, **arguments)
        return arguments
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{path}: config.json: canon is not what add_canon writes ({error})") from None


def _is_model(cls: Any) -> bool:
    """Not so are transformers' Auto classes, which make models of other classes."""
    import transformers

    return isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)


def _where(arguments: dict[str, Any]) -> dict[str, Any]:
    names = ("revision", "token", "cache_dir", "subfolder", "local_files_only", "trust_remote_code")
    return {name: arguments[name] for name in names if name in arguments}


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
