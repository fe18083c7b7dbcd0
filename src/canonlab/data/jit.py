"""Compiling kernels with numba, cached on disk in a folder whose name is a hash of all kernel sources.

numba's own cache notices a change of the file that holds a function, but not of another file whose helper was inlined
into it, and then runs the old helper. So the folder's name is a SHA-256 over every file that may hold kernels of this
package: all `*.py` below `canonlab/data` and `canonlab/tasks`. A kernel in a user's own file is covered as well, as
long as the helpers it calls are in the same file or in this package.
"""

import functools
import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import FunctionCache

KERNEL_FOLDERS = ("data", "tasks")

F = TypeVar("F", bound=Callable[..., Any])


def cache_root() -> Path:
    """The user's cache folder for canonlab: `CANONLAB_CACHE` when set, else the platform's place for caches."""
    if chosen := os.environ.get("CANONLAB_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "canonlab"


def sources_hash(package: Path) -> str:
    """SHA-256 (hex) over the names and bytes of all files below `package` that may hold kernels."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in KERNEL_FOLDERS for path in (package / folder).rglob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


@functools.cache
def kernel_cache() -> Path | None:
    """The folder for compiled kernels, created if need be; None, with one warning, when it can't be written."""
    try:
        folder = cache_root() / "kernels" / sources_hash(Path(__file__).parents[1])[:16]
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        message = f"compiled kernels can't be cached ({error}), so every start compiles them; set CANONLAB_CACHE"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return None
    return folder


class _ForgivingCache(FunctionCache):
    """numba's cache, except that what it can't load is compiled and what it can't save (a full disk, say) is not."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a damaged file raises whatever its bytes make of it
            message = f"a kernel could not be loaded from the cache {self.cache_path}, better remove it: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:  # saving reads the index first
            warnings.warn(f"a kernel could not be saved to the cache: {error}", RuntimeWarning, stacklevel=2)


def kernel(function: F) -> F:
    """Compile `function` on its first call, without the GIL; later processes load the machine code from disk.

    Kernels work on integers only, and signed and unsigned ones never meet in one operation (numba turns the pair into
    a float). No `fastmath`, no bounds checks: callers pass arrays of the right shape.
    """
    compiled: Any = numba.njit(nogil=True, error_model="numpy")(function)
    folder, config = kernel_cache(), cast(Any, numba.config)
    if folder is not None:
        outside, config.CACHE_DIR = config.CACHE_DIR, str(folder)
        try:
            compiled._cache = _ForgivingCache(function)  # what `cache=True` does, with numba's own class
        finally:
            config.CACHE_DIR = outside
    return cast(F, compiled)


def inlined(function: F) -> F:
    """Put the body of `function` where kernels call it, before compilation.

    Machine code inlines most calls anyway, but then still counts references to the arrays that are passed: half of the
    time of an innermost loop that only copies.
    """
    return cast(F, numba.njit(inline="always")(function))
