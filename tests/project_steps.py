"""Runs scripts of samples/project one after the other, as a cluster would, in one process: what they import they import once.

Its only argument: a JSON list of command lines. Run by the environment of samples/project.
"""

import json
import os
import runpy
import sys
from pathlib import Path

CODE = Path(__file__).resolve().parents[1] / "samples" / "project" / "code"


def main() -> None:
    sys.path.insert(0, str(CODE))
    given = dict(os.environ)  # noqa: TID251 (of a process of its own)
    for line in json.loads(sys.argv[1]):
        sys.argv = line
        os.environ.update(given)  # noqa: TID251 (MLflow takes the id of the run out of it)
        runpy.run_path(str(CODE / line[0]), run_name="__main__")


if __name__ == "__main__":
    main()
