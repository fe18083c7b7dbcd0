"""Files that are either whole or not there, and that say which format they have."""

import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from canonlab.errors import InputError, Unreadable, shown
from canonlab.locks import lock

FORMAT = 2
"""Version of every file of a run folder. Files of older formats are read, newer ones refused. From 2 on JSON files hold
a checksum of themselves, and a run's config.json is as `training.record` says."""

CHECKSUM = "sha256"

T = TypeVar("T", str, int, float, dict, list)
KINDS: dict[type, str] = {str: "a string", int: "an integer", float: "a number", dict: "an object", list: "a list"}


MOST_BYTES = 1 << 26
"""Of a file that is read as a whole."""

LONGEST_NAME = 120
"""Characters of a name that the program gives to a file."""

DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|\Z)", re.IGNORECASE)
"""Names that Windows keeps for itself, whatever comes behind a dot."""


def safe_name(text: str, longest: int = LONGEST_NAME) -> str:
    """`text` as a file's name that any system takes: at most `longest` letters, digits and `._+-`, no dot at the ends.

    Where that loses letters, of another script or as there are too many, a hash of the text stands for them at the end,
    so that two texts do not become one name.
    """
    name = re.sub(r"[^A-Za-z0-9._+-]+", "_", text).rstrip(".") or "_"
    if name.startswith(".") or DEVICES.match(name):
        name = f"_{name}"
    if text.isascii() and len(name) <= longest:
        return name
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: longest - len(mark) - 1]}-{mark}"


def require_safe_name(field: str, name: str) -> str:
    """`name` itself when it can name a file on any system, and nothing outside its folder; else an InputError."""
    if safe_name(name) != name:
        raise InputError(
            f"{field} = {shown(name)}: must be a file's name of at most {LONGEST_NAME} letters, digits and ._+-, "
            f"with no dot at its ends, such as {safe_name(name.strip('./ '))!r}"
        )
    return name


def exists(path: Path) -> bool:
    """Whether something is there; Unreadable where the system doesn't say, as in a folder that is closed to us."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the latter: no path can have a NUL in it
        return False
    except OSError as error:
        raise unreadable(path, error) from None
    return True


def opened(path: Path) -> IO[bytes]:
    """A file, opened to be read.

    InputError where there is none, or what is there is no file: reading a pipe or a device may never end. Unreadable
    where the system doesn't let us read it.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"cannot read {path}: not a file")
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """What a file holds. InputErrors as for `opened`, and where it is more than `most` bytes."""
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise InputError(f"{path} is too large: at most {most:,} bytes are read")
    return content


def unreadable(path: Path | str, error: OSError | ValueError) -> InputError:
    """The error that says of a path what the system says, or Python of one that can't be (ValueError)."""
    kind = InputError if isinstance(error, FileNotFoundError | ValueError) else Unreadable
    return kind(f"cannot read {path}: {getattr(error, 'strerror', None) or error}")


def parse_json(text: bytes | str, where: object) -> Any:
    """What JSON says, whatever that is. InputError where it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{where} is damaged: not valid JSON") from None


@contextmanager
def replacing(path: Path, new: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it doesn't.

    IsADirectoryError before the block when `path` is a folder; FileExistsError after it when `path` is to be `new` and
    something is there, whoever was faster to put it there.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with _held(temporary) as mode:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)  # as the user's umask has it, whatever the library that wrote the file thinks of that
            if not new or not _linked(temporary, path):
                os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _linked(temporary: Path, path: Path) -> bool:
    """Give a file the name `path` too; False on a file system where files have one name. FileExistsError when taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


@contextmanager
def _held(temporary: Path) -> Iterator[int]:
    """Make a file and hold its lock meanwhile: one that nobody holds is what a kill has left. Gives the file's mode.

    Not on Windows, where a file that is open can't take another one's place.
    """
    with temporary.open("ab") as file:
        mode = os.fstat(file.fileno()).st_mode
        if sys.platform == "win32":
            file.close()
        else:
            with suppress(OSError):  # a file system without locks
                lock(file)
        yield mode


def remove_leftovers(folder: Path, names: Collection[str]) -> None:
    """Delete what a kill in mid-write has left in `folder` of `replacing` files of these names, and nothing else.

    On Windows, which doesn't say who is in mid-write now, only for a folder that is locked.
    """
    for path in folder.glob(".*"):
        match = re.fullmatch(r"\.(.+)\.\d+\.\d+", path.name)
        if match and match[1] in names and path.is_file() and not _is_held(path):
            path.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb+") as file:
            lock(file)
    except OSError:
        return True
    return False


@contextmanager
def writing(path: Path, what: str) -> Iterator[Path]:
    """`replacing` for a path of the user's: makes folders as needed. InputError naming `what` when the path can't be
    written; OSError for what is no fault of the path, such as a full disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if sys.platform != "win32":
            remove_leftovers(path.parent, [path.name])
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        message = f"{what} {str(path)!r}: cannot be written: {error.strerror or error}"
        raise OSError(message) if error.filename is None else InputError(message) from None


def write_text(path: Path, text: str, what: str) -> None:
    """Write `text` to a path of the user's: see `writing`."""
    with writing(path, what) as temporary:
        temporary.write_text(
            text, encoding="utf-8", errors="backslashreplace"
        )  # bytes of a file's name that are no text


def canonical(content: Any) -> str:
    """Plain data as the one JSON text that equal data have: what hashes are taken of."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def sha256(content: Any) -> str:
    """SHA-256 (hex) of plain data, by its canonical text."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def write_json(path: Path, content: dict[str, Any], new: bool = False) -> None:
    """Write `content` atomically, after the format version and a checksum of the rest; see `replacing`."""
    head = {"format": FORMAT, CHECKSUM: sha256(content)}
    with replacing(path, new) as temporary:
        temporary.write_text(json.dumps({**head, **content}, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote, with its `format`. InputError when it is missing, damaged, or of a newer format."""
    content = parse_json(read_bytes(path), path)
    check_format(path, content.get("format") if isinstance(content, dict) else None)
    written = content.pop(CHECKSUM, None) if content["format"] > 1 else None
    if content["format"] > 1 and written != sha256({key: content[key] for key in content if key != "format"}):
        raise InputError(f"{path} is damaged: its content is not what was written")
    return content


def maybe(content: dict[str, Any], key: str, kind: type[T], where: object) -> T | None:
    """Like `entry`, where None stands for an entry that is null or missing."""
    return None if content.get(key) is None else entry(content, key, kind, where)


def check_format(path: Path, version: object) -> None:
    """InputError unless `version` is a format that this version of canonlab reads."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(f"{path} is not a canonlab file: it names no format version")
    if version > FORMAT:
        raise InputError(
            f"{path} has format {shown(version)}, written by a newer canonlab; this one reads up to {FORMAT}"
        )


def entry(content: object, path: str, kind: type[T], where: object, least: float = -math.inf) -> T:
    """The entry of parsed JSON at the dotted `path`. InputError when it is missing, of another kind, or below `least`.

    A number that is null, or that older files have as NaN, reads NaN, unless it has a bound.
    """
    value: Any = content
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            raise InputError(f"{where}: {path} is missing")
        value = value[key]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and (value is None or value != value) and least == -math.inf:
        return math.nan  # type: ignore[return-value]
    fits = number if kind is float else isinstance(value, kind) and not isinstance(value, bool)
    if not fits or (number and not least <= value <= sys.float_info.max):
        bound = f" of at least {least:g}" if fits and least > -math.inf else ""
        raise InputError(f"{where}: {path} = {shown(value)}: must be {KINDS[kind]}{bound}")
    return kind(value)
