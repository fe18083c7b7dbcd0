"""Taking a task to another process, also one whose class comes from a user's own file."""

import dataclasses
import inspect
import pickle
from pathlib import Path

from canonlab.plugins import load_plugin
from canonlab.tasks.base import Task

PLUGIN_MODULE = "canonlab_plugin_"
"""How the module names of plugins begin, see canonlab.plugins."""


@dataclasses.dataclass(frozen=True)
class Parcel:
    """A pickled task, and `path.py:Class` when its class is a plugin, which another process can't import by name."""

    reference: str | None
    content: bytes

    @classmethod
    def pack(cls, task: Task) -> "Parcel":
        """The task without what it has cached. A class that isn't at the top level of its file can't be pickled."""
        fresh = dataclasses.replace(task) if dataclasses.is_dataclass(task) else task
        kind = type(task)
        plugin = kind.__module__.startswith(PLUGIN_MODULE)
        reference = f"{Path(inspect.getfile(kind)).resolve()}:{kind.__qualname__}" if plugin else None
        return cls(reference, pickle.dumps(fresh))

    def unpack(self) -> Task:
        """The same task here. ModuleNotFoundError if a plugin's file has changed in the meantime."""
        if self.reference is not None:
            load_plugin(self.reference)
        task: Task = pickle.loads(self.content)
        return task
