"""Runs the notebooks of samples/project, cell by cell, and prints what they print. Run by the environment of samples/project."""

import json
import os
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parents[1] / "samples" / "project" / "notebooks"


def main() -> None:
    os.chdir(NOTEBOOKS)
    for file in sorted(NOTEBOOKS.glob("*.ipynb")):
        print(f"== {file.name}")  # noqa: T201 (what came of which)
        names: dict[str, Any] = {"__name__": "__main__"}
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"{file.name} {cell['id']}", "exec"), names)


if __name__ == "__main__":
    main()
