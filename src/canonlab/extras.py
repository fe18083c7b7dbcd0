"""Packages that only some uses need."""

import importlib
from typing import Any

from canonlab.errors import InputError


def optional(package: str, extra: str, purpose: str) -> Any:
    """The imported `package`; an InputError that says what to install when it isn't there."""
    missing = InputError(f"{purpose} needs {package}, which isn't installed: pip install 'canonlab[{extra}]'")
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise missing from None
    if module.__file__ is None:  # a folder of that name on the path, which Python takes for a package
        raise missing
    return module
