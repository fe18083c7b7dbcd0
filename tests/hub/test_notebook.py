"""The notebook of docs/canon.md runs, and shows what it says."""

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbclient: make test-hub")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient: make test-hub")
pytest.importorskip("transformers", reason="needs transformers 5.24: make test-hub")
pytest.importorskip("matplotlib", reason="needs matplotlib: make test-hub")

NOTEBOOK = Path(__file__).parents[2] / "docs" / "canon.ipynb"


def _printed(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    committed = _printed(notebook)
    assert "Llama + Canon-ABCD" in committed, "committed with its outputs"
    client = nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    found = _printed(notebook)
    assert [line for line in found.splitlines() if "parameters" in line] == [
        line for line in committed.splitlines() if "parameters" in line
    ]
    plain, canon = (float(line.split()[-4]) for line in found.splitlines() if line.endswith("nats per byte"))
    assert 0.5 < canon < plain - 0.2 and plain < 3.5  # from 5.5 before training
