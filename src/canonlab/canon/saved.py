"""Loading what `save_pretrained` wrote of a model with Canon layers."""

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
        ValueError: there are no Canon layers in config.json, or no weights of them in the files.
    """
    import transformers

    config = arguments.pop("config", None) or transformers.AutoConfig.from_pretrained(path, **_where(arguments))
    told = getattr(config, "canon", None)
    if not isinstance(told, dict):
        raise ValueError(f"{path}: config.json tells of no Canon layers: load it with transformers, then add_canon")
    if cls is None:
        name = (getattr(config, "architectures", None) or ["?"])[0]
        cls = getattr(transformers, name, None)
        if cls is None:
            raise ValueError(f"{path}: transformers has no class {name!r}: name one as cls=")
    table = told["table"] and Table(**{key: _tuples(value) for key, value in told["table"].items()})

    def build(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        cls.__init__(self, *args, **kwargs)
        add_canon(self, **{**told, "table": table})

    loader: Any = type(cls.__name__, (cls,), {"__init__": build, "__module__": cls.__module__})
    model, info = loader.from_pretrained(path, config=config, output_loading_info=True, **arguments)
    missing = [name for name in info["missing_keys"] if ".canon." in name]
    if missing:
        raise ValueError(f"{path}: no weights of the Canon layer {sorted(missing)[0]!r}")
    model.__class__ = cls
    return model


def _where(arguments: dict[str, Any]) -> dict[str, Any]:
    names = ("revision", "token", "cache_dir", "subfolder", "local_files_only", "trust_remote_code")
    return {name: arguments[name] for name in names if name in arguments}


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
