"""YAML in which nothing means something else than it seems to; where it could, one line says where and what.

Only true and false are booleans: yes, no, on and off are words, and dates are text. Refused are names given twice,
numbers that the versions of YAML read differently (010, 1:30, 0x1F, 1_000), aliases, and texts too large or too deep.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from canonlab.errors import InputError, shown
from canonlab.files import read_bytes
from canonlab.typed import number

MOST_BYTES = 1 << 18
"""Of a text: a second or two of parsing, and a hundred times the largest recipe of the package."""

DEEPEST = 32
"""Mappings and lists inside one another."""

MOST_SHOWN = 200
"""Characters of the parser's own words, which may quote the text."""

TAG = "tag:yaml.org,2002:"
DIGITS = r"[0-9][0-9_]*(:[0-9]+)*(\.[0-9_]*)?|\.[0-9][0-9_]*"
NUMBERS = re.compile(rf"[-+]?(({DIGITS})([eE][-+]?[0-9]+)?|0[xob][0-9a-f_]+|\.inf)\Z|\.nan\Z", re.IGNORECASE)
"""What is a number in some version of YAML; `number` knows those that all versions read alike."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012
    yaml_constructors = {  # noqa: RUF012
        tag: SafeConstructor.yaml_constructors[tag]
        for tag in (None, *(TAG + kind for kind in ("null", "bool", "str", "seq", "map")))
    }
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _refused(event, f"the alias {shown(event.anchor)}: write out what it stands for")
        if self.depth == DEEPEST:
            raise _refused(event, f"more than {DEEPEST} mappings and lists inside one another")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise _refused(name, "a mapping or list in the place of a name")
            key = self.construct_object(name)
            if key in mapping:
                raise _refused(name, f"{shown(key)} is given twice")
            mapping[key] = self.construct_object(value, deep=deep)
        return mapping

    def construct_number(self, node: Any) -> int | float:
        found = number(self.construct_scalar(node))
        if found is None:
            raise _refused(node, f"{shown(node.value)} is no plain decimal number: write one, or put text in quotes")
        return found


_Loader.add_implicit_resolver(TAG + "null", re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(TAG + "bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))
_Loader.add_implicit_resolver(TAG + "float", NUMBERS, list("-+.0123456789"))
_Loader.add_constructor(TAG + "float", _Loader.construct_number)


def _refused(node: Any, reason: str) -> InputError:
    return InputError(f"{node.start_mark.name}, line {node.start_mark.line + 1}: {reason}")


def parse_yaml(text: str, source: str) -> Any:
    """What `text` says. InputError that begins with `source` where it isn't YAML, or not plain enough."""
    if len(text) > MOST_BYTES:
        raise InputError(f"{source} is too large: at most {MOST_BYTES:,} bytes are read")
    try:
        loader = _Loader(text)
        loader.name = source
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise InputError(f"{source} is not valid YAML: {where}{reason[:MOST_SHOWN]}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter: escapes of characters that don't exist
        raise InputError(f"{source} is not valid YAML: {str(error).splitlines()[0]}") from None


def parse_mapping(text: str, source: str) -> dict[str, Any]:
    """What `parse_yaml` finds, when that is a mapping of fields."""
    content = parse_yaml(text, source)
    if not isinstance(content, dict):
        raise InputError(f"{source} is empty, or not a mapping of fields")
    return content


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping of fields in a YAML file. InputError for whatever is wrong with it."""
    try:
        return parse_mapping(read_bytes(path, MOST_BYTES).decode(), str(path))
    except UnicodeDecodeError:
        raise InputError(f"{path} cannot be read as UTF-8 text") from None
