"""A user's own file as a plugin: `path.py:Class`, loaded once, known by the SHA-256 of its source.

The source's hash is part of a run's identity and a copy lies in the run folder, so a plugin is one self-contained file:
what it imports from other files of the user's is not tracked.
"""

import dataclasses
import hashlib
import importlib.util
import inspect
import pickle
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canonlab.errors import InputError, unknown
from canonlab.files import read_bytes
from canonlab.typed import user_path

MOST_BYTES = 1 << 22
"""Of a user's file."""

PREFIX = "canonlab_plugin_"
"""Of the names that modules from users' files have."""


SOURCE = "__canonlab_source__"
"""The name by which such a module knows the SHA-256 of its source."""


@dataclass(frozen=True)
class Plugin:
    """A class from a user's file: where it is, its source, and the SHA-256 of that source."""

    path: Path
    class_name: str
    source: bytes
    cls: type

    @property
    def sha256(self) -> str:
        """Hash of the file's bytes, as lower-case hex."""
        return hashlib.sha256(self.source).hexdigest()

    @property
    def identity(self) -> dict[str, str]:
        """What makes two plugins the same: the source and the class, wherever the file lies."""
        return {"class": self.class_name, "sha256": self.sha256}


def is_plugin(reference: str) -> bool:
    """Whether a task or model name has the form `path.py:Class`."""
    return ".py:" in reference


def load_plugin(reference: str) -> Plugin:
    """The class that `path.py:Class` names. InputError when the file or the class isn't there or doesn't load."""
    file, _, class_name = reference.rpartition(":")
    path = user_path(file)
    source = read_bytes(path, MOST_BYTES)
    module = _import(path, source)
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        own = [name for name, value in vars(module).items() if _defined_in(value, module.__name__)]
        if not own:
            raise InputError(f"{file} defines no class, so none called {class_name!r}")
        raise unknown(f"class in {file}", class_name, own)
    return Plugin(path.resolve(), class_name, source, cls)


def source_of(cls: type) -> dict[str, str] | None:
    """The `Plugin.identity` of a class from a user's file, as it was when it was loaded; None for any other class."""
    sha256 = getattr(sys.modules.get(cls.__module__), SOURCE, None)
    return {"class": cls.__qualname__, "sha256": sha256} if sha256 else None


def _defined_in(value: Any, module_name: str) -> bool:
    return isinstance(value, type) and value.__module__ == module_name


def _import(path: Path, source: bytes) -> Any:
    """The module of a plugin file, executed once per content: the name carries the hash, so an edit is a new module.

    These very bytes are executed, and not what Python may have compiled of the file before.
    """
    sha256 = hashlib.sha256(source).hexdigest()
    name = f"{PREFIX}{path.stem}_{sha256[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise InputError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up by name while it is being executed
    setattr(module, SOURCE, sha256)
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        text = " ".join(str(error).split())
        raise InputError(f"{path} does not load: {type(error).__name__}: {text}") from error
    return module


def users_line(error: BaseException) -> str | None:
    """Where in a user's own file an error arose, such as "mine.py, line 12"; None when none was at work."""
    found = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).startswith(PREFIX):
            found = f"{Path(frame.f_code.co_filename).name}, line {number}"
    return found


@dataclass(frozen=True)
class Parcel:
    """A pickled object, and `path.py:Class` when its class is a plugin, which another process can't import by name."""

    reference: str | None
    content: bytes

    @classmethod
    def pack(cls, thing: Any) -> "Parcel":
        """A dataclass goes without what it has cached. A class that isn't at the top level of its file can't go."""
        kind = type(thing)
        plugin = kind.__module__.startswith(PREFIX)
        reference = f"{Path(inspect.getfile(kind)).resolve()}:{kind.__qualname__}" if plugin else None
        return cls(reference, pickle.dumps(dataclasses.replace(thing) if dataclasses.is_dataclass(kind) else thing))

    def unpack(self) -> Any:
        """The same object here. InputError if a plugin's file has changed in the meantime."""
        if self.reference is not None:
            load_plugin(self.reference)
        try:
            return pickle.loads(self.content)
        except ModuleNotFoundError:
            raise InputError(f"{self.reference} has changed since it was loaded; load it anew") from None
