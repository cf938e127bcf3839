"""Runs a notebook's code from top to bottom, and keeps or compares what it prints.

`python -m tests.harness.notebook PATH` runs it and writes what its cells print into it.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from tests.harness.pytorch import has_pytorch


def load_notebook(path: Path) -> dict[str, Any]:
    """Return a notebook's JSON."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def list_printed(notebook: dict[str, Any]) -> list[str]:
    """Return what each code cell printed when the notebook was last run."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["".join(text for out in cell["outputs"] for text in out["text"]) for cell in cells]


def run_cells(notebook: dict[str, Any]) -> list[str]:
    """Run all code cells in one namespace; return what each prints."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)
        printed.append(out.getvalue())
    return printed


def keep_printed(notebook: dict[str, Any], printed: list[str]) -> None:
    """Put what cells print into the notebook."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell, text in zip(cells, printed, strict=True):
        stream = {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}
        cell["outputs"] = [stream] if text else []


def main() -> None:
    """Run the notebook that is named; print what its cells print, or write it into it."""
    path, check = Path(sys.argv[1]), "--check" in sys.argv
    assert has_pytorch(), "PyTorch is not installed"
    notebook = load_notebook(path)
    printed = run_cells(notebook)
    if check:
        print(json.dumps(printed))
        return
    keep_printed(notebook, printed)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
