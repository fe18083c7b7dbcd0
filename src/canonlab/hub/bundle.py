"""The code that an export carries: `modeling.py` and what it imports, as transformers loads such code.

That is files of one folder that import one another by lines `from .name import ...`; whatever else they import must be
installed. The module canonlab.models.decoder becomes canonlab_models_decoder.py, and so on. Compiled kernels stay
behind. PyTorch knows the name of an operator once, so there each copy of the code has names of its own.
"""

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = "canonlab.hub.modeling"
"""The module that has the classes."""

LEFT_OUT = ("canonlab.canon.cpu", "canonlab.models.mixers.loops")
"""Modules that are imported where something needs them, which nothing in an export does."""

OPERATORS = "canonlab_operators"
"""What stands for the namespace of canonlab's operators."""

HEADER = "# From canonlab {version}, {path}, Apache License 2.0; its imports are rewritten.\n"

NAMESPACE = f"""
{OPERATORS} = "canonlab_" + "".join(c if c.isalnum() and c.isascii() else "_" for c in __name__)
"""


@functools.cache
def bundle(version: str) -> Mapping[str, str]:
    """The source of each file by its name, the same for the same canonlab."""
    found: dict[str, str] = {}
    open_ones = [ROOT]
    while open_ones:
        module = open_ones.pop()
        if flat(module) in found:
            continue
        source = _path(module).read_text(encoding="utf-8")
        path = "/".join(_path(module).parts[-len(module.split(".")) :])
        found[flat(module)] = HEADER.format(version=version, path=path) + _rewritten(source)
        open_ones += [needed for _, places in _imports(source) for needed in places if needed not in LEFT_OUT]
    return MappingProxyType({f"{name}.py": source for name, source in sorted(found.items())})


def flat(module: str) -> str:
    """What a module is called in an export."""
    return "modeling_canonlab" if module == ROOT else module.replace(".", "_")


def _path(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of a class in a module
        return False


def _imports(source: str) -> Iterator[tuple[ast.ImportFrom, dict[str, list[ast.alias]]]]:
    """Each statement that imports from canonlab, and which modules its names are in, or are."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "canonlab":
            places: dict[str, list[ast.alias]] = {}
            for alias in node.names:
                places.setdefault(_home(str(node.module), alias.name), []).append(alias)
            yield node, places


def _home(module: str, name: str) -> str:
    """The module that `from module import name` gives, or that has the name; not a package that passes it on."""
    if _is_module(f"{module}.{name}"):
        return f"{module}.{name}"
    if _path(module).name == "__init__.py":
        for node in ast.parse(_path(module).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
                return str(node.module)
    return module


def _rewritten(source: str) -> str:
    """The source with imports of files in its own folder."""
    lines = source.splitlines()
    for node, places in sorted(_imports(source), key=lambda each: -each[0].lineno):
        indent = " " * node.col_offset
        new = [indent + line for module, names in places.items() for line in _import_lines(module, names)]
        lines[node.lineno - 1 : node.end_lineno] = new
    text = "\n".join(lines) + "\n"
    text = re.sub(r'"canonlab::(\w+)"', rf'f"{{{OPERATORS}}}::\1"', text)
    text = text.replace("torch.ops.canonlab.", f"getattr(torch.ops, {OPERATORS}).")
    if OPERATORS not in text:
        return text
    last = max(node.end_lineno or 0 for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom))
    lines = text.splitlines()
    return "\n".join([*lines[:last], *NAMESPACE.splitlines(), *lines[last:]]) + "\n"


def _import_lines(module: str, names: list[ast.alias]) -> list[str]:
    name = flat(module)
    if module in LEFT_OUT:
        return [f'raise ImportError("{module} comes with canonlab alone")']
    as_module = [alias for alias in names if module.rpartition(".")[2] == alias.name and _is_module(module)]
    if as_module:  # transformers copies files that a line of the first form names
        return [
            f"from .{name} import __name__ as _",
            f"from . import {name} as {as_module[0].asname or as_module[0].name}",
        ]
    words = ", ".join(alias.name + (f" as {alias.asname}" if alias.asname else "") for alias in names)
    return [f"from .{name} import {words}"]
