"""No module imports what lies above it, by the table in docs/design.md; and what is slow to load waits until used."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "canonlab"
NAMES = re.compile(r"`(\w+)(?:/|\.py)?`")


def allowed() -> dict[str, set[str]]:
    """What each folder or file may import, by the table; from the lowest on."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "docs" / "design.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            names, _, may = (cell.strip() for cell in line.strip("|").split("|"))
            mine = set(NAMES.findall(names))
            below = set(found) if may == "all above" else set(NAMES.findall(may))
            if "single files" in may:
                below |= {name for name in found if (SOURCE / f"{name}.py").is_file()}
            assert below <= set(found), f"{mine} may import what stands lower in the table"
            found |= dict.fromkeys(sorted(mine), mine | below)
    return found


def imported(source: str) -> Iterator[str]:
    """The folders and files of the package that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            package, _, rest = name.partition(".")
            if package == "canonlab":
                yield rest.partition(".")[0]


ALLOWED = allowed()


@pytest.mark.parametrize("layer", ALLOWED)
def test_what_a_layer_imports(layer: str) -> None:
    folder = SOURCE / layer
    modules = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert modules
    found = {(name, path.name) for path in modules for name in imported(path.read_text(encoding="utf-8"))}
    assert [each for each in sorted(found) if each[0] not in ALLOWED[layer] | {"__version__"}] == []


def test_every_layer_is_in_the_table() -> None:
    there = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or list(path.glob("*.py"))}
    assert there - {"__init__", "__main__"} == ALLOWED.keys()


def test_what_is_loaded_when() -> None:
    script = """
import sys, torch
before = set(sys.modules)
import canonlab.canon
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not loaded & {"transformers", "numba", "llvmlite", "triton", "tyro", "pydantic", "rich", "yaml"}, loaded
assert all(f"{name}.".startswith("canonlab.canon.") for name in sys.modules if name.startswith("canonlab."))
canonlab.canon.canon(torch.zeros(1, 1, 1), torch.zeros(4, 1), implementation="reference")
assert "numba" not in sys.modules
import canonlab.claims
shown = ("canonlab.reports", "canonlab.cli", "rich", "matplotlib")
assert not [name for name in sys.modules if f"{name}.".startswith(tuple(f"{each}." for each in shown))]
assert "canonlab.claims.evidence" in sys.modules
from canonlab import cli
sys.argv = ["canonlab", "tasks"]
try:
    cli.main()
except SystemExit as end:
    assert end.code == 0
assert "numba" in sys.modules
assert "torch._dynamo" not in sys.modules, "the compiler, which takes a second to load"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
