"""Runs the scripts of samples/project one after the other, as a cluster would, and then its notebooks, cell by cell: in one process,
since what they import takes longer to load than to use. Run by the environment of samples/project.

Its only argument is JSON: `lines`, the command lines of the scripts; `notebooks`, the environment that the notebooks run in. A script
that fails ends it; of a notebook that does, standard output has the trace.
"""

import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1] / "samples" / "project"
CODE, NOTEBOOKS = PROJECT / "code", PROJECT / "notebooks"


def main() -> None:
    asked, given = json.loads(sys.argv[1]), dict(os.environ)  # noqa: TID251 (of a process of its own)
    sys.path.insert(0, str(CODE))
    for line in asked["lines"]:
        sys.argv = line
        os.environ.update(given)  # noqa: TID251 (MLflow takes the id of the run out of it)
        runpy.run_path(str(CODE / line[0]), run_name="__main__")
    os.environ.clear()  # noqa: TID251 (as above)
    os.environ.update(asked["notebooks"])  # noqa: TID251 (as above)
    os.chdir(NOTEBOOKS)
    for file in sorted(NOTEBOOKS.glob("*.ipynb")):
        names: dict[str, Any] = {"__name__": "__main__"}
        try:
            for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
                if cell["cell_type"] == "code":
                    exec(compile("".join(cell["source"]), f"{file.name} {cell['id']}", "exec"), names)
        except Exception:  # noqa: BLE001 (the others are run all the same, and the test reads it)
            traceback.print_exc(file=sys.stdout)


if __name__ == "__main__":
    main()
