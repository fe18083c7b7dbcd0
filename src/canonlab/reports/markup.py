"""HTML as nested function calls. Text is escaped unless it is markup already, so nobody has to remember to."""

import html
import json
from typing import Any

from canonlab.errors import visible
from canonlab.results.summary import finite


class Markup(str):
    """A piece of HTML that is safe to insert as it is."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """The element `name`; children and attribute values that are not `Markup` are escaped, None attributes left out.

    A trailing underscore is dropped and other underscores become hyphens: `class_="a", aria_label="b"`.
    """
    texts = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    opening = name + "".join(f' {key}="{html.escape(visible(str(value)))}"' for key, value in texts.items())
    return Markup(f"<{opening}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """The children one after another, each escaped unless it is `Markup`."""
    return Markup("".join(c if isinstance(c, Markup) else html.escape(visible(str(c))) for c in children))


def script_json(value: Any) -> Markup:
    """`value` as strict JSON that cannot end the script element it stands in."""
    return Markup(json.dumps(finite(value), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))
