"""Compiling kernels with numba, cached on disk under all that their machine code is made of.

numba's own cache notices a change of the file that holds a function, but not of another file whose helper was inlined
into it or whose constant it uses, and then runs the old machine code. So `fingerprint` is part of the key here: any
change that matters is noticed, in a user's own files as well, and a change that doesn't compiles nothing anew.
"""

import enum
import functools
import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

from canonlab.locks import taking_turns

LIBRARIES = ("builtins", "math", "numba", "numpy")
"""What kernels may call that isn't theirs. numba keeps the caches of its versions apart."""

PATIENCE = 60.0
"""Seconds to wait for another process that compiles the same kernel, which takes it ten at most."""

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


@functools.cache
def kernel_cache() -> Path | None:
    """The folder for compiled kernels, created if need be; None, with one warning, when it can't be written."""
    try:
        folder = cache_root() / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        message = f"compiled kernels can't be cached ({error}), so every start compiles them; set CANONLAB_CACHE"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return None
    return folder


def fingerprint(kernel: Dispatcher, arguments: Iterable[numba.types.Type] = ()) -> str:
    """SHA-256 (hex) of all that a kernel's machine code for arguments of these types depends on, but for numba itself.

    That is its bytecode and, to any depth, that of the functions and the values of the constants that it names; and
    what the fields of its arguments are called. TypeError for what it can't look into, such as a module.
    """
    return hashlib.sha256(repr(_content((kernel, *arguments), {})).encode()).hexdigest()


def _content(value: Any, known: dict[Any, int]) -> Any:
    """What a kernel can see of a value, as plain data; `known` numbers the functions that were described already."""
    if isinstance(value, Dispatcher):
        return sorted(value.targetoptions.items()), _content(value.py_func, known)
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return repr(value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, tuple):
        return [_content(member, known) for member in value]
    if isinstance(value, numba.types.Type):  # without fields it is in numba's own key
        members: Any = value if isinstance(value, numba.types.BaseTuple) else ()
        return getattr(value, "fields", ()), [_content(member, known) for member in members]
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
    if home.partition(".")[0] in LIBRARIES:
        return home, getattr(value, "__qualname__", "")
    if isinstance(value, enum.EnumType):
        return list(map(repr, value))
    if isinstance(value, type) and hasattr(value, "_fields"):  # a named tuple's class, to make one
        return value.__name__, value._fields
    if not isinstance(value, FunctionType):
        raise TypeError(f"a kernel names {value!r}, and only functions and constants can be followed")
    if value in known:
        return known[value]
    known[value] = len(known)
    bound = *(value.__defaults__ or ()), *(cell.cell_contents for cell in value.__closure__ or ())
    return _code(value.__code__, value, known), _content(bound, known)


def _code(code: CodeType, function: FunctionType, known: dict[Any, int]) -> Any:
    without_doc = (None if constant is function.__doc__ else constant for constant in code.co_consts)
    constants = [_code(c, function, known) if isinstance(c, CodeType) else repr(c) for c in without_doc]
    named = [_content(function.__globals__[name], known) for name in code.co_names if name in function.__globals__]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, named


class _Cache(FunctionCache):
    """numba's cache, the fingerprint in its key. What it can't load is compiled; what it can't save is not saved."""

    def __init__(self, kernel: Dispatcher) -> None:
        super().__init__(kernel.py_func)
        self.kernel = kernel

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        return *super()._index_key(signature, codegen), fingerprint(self.kernel, getattr(signature, "args", signature))

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


def _by_one_process(load_or_compile: Callable[[Any], Any], lock: Path) -> Callable[[Any], Any]:
    """`load_or_compile`, a dispatcher's method, in one process at a time.

    Those that start together on an empty cache then compile a kernel once, and the others load it. Besides, numba
    numbers the machine code of a kernel's signatures in the order in which they come: two processes that save at once
    can take the same number, and one is then given the code of the other's signature.
    """

    @functools.wraps(load_or_compile)
    def in_turn(signature: Any) -> Any:
        with global_compiler_lock, ExitStack() as stack:  # numba's own first, so that no two threads wait crosswise
            with suppress(OSError):  # a cache that can't be written needs no lock
                stack.enter_context(taking_turns(lock, PATIENCE))
            return load_or_compile(signature)

    return in_turn


def kernel(function: F, fastmath: Collection[str] = ()) -> F:
    """Compile `function` on its first call, without the GIL; later processes load the machine code from disk.

    Kernels of data work on integers only, and signed and unsigned ones never meet in one operation (numba turns the
    pair into a float). No bounds checks: callers pass arrays of the right shape. Where numba may not compile
    (NUMBA_DISABLE_JIT), they run as the Python that they are: slowly, to the same integers. `fastmath` is numba's.
    """
    config: Any = numba.config
    if config.DISABLE_JIT:
        return cast(F, np.errstate(over="ignore")(function))  # of a product's 64 low bits, NumPy says that it overflows
    compiled: Any = numba.njit(nogil=True, error_model="numpy", fastmath=set(fastmath) or False)(function)
    folder = kernel_cache()
    if folder is not None:
        outside, config.CACHE_DIR = config.CACHE_DIR, str(folder)
        try:
            compiled._cache = _Cache(compiled)  # what `cache=True` does, with numba's own class
            name = f"{function.__module__}.{function.__qualname__}".replace("<locals>", "locals")
            compiled.compile = _by_one_process(compiled.compile, folder / f"{name}.lock")
        except RuntimeError:  # it has no file, as in an interactive session, and so no cache
            pass
        finally:
            config.CACHE_DIR = outside
    return cast(F, compiled)


def inlined(function: F) -> F:
    """Put the body of `function` where kernels call it, before compilation.

    Machine code inlines most calls anyway, but then still counts references to the arrays that are passed: half of the
    time of an innermost loop that only copies.
    """
    return cast(F, numba.njit(inline="always")(function))
