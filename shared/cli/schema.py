"""Writes the JSON Schemas of the configuration, after a change of an action or a model:
`python -m shared.cli.schema [FOLDER]`.
"""

import sys
from pathlib import Path

from shared.rules.schema import texts

if __name__ == "__main__":
    folder = Path(sys.argv[1] if sys.argv[1:] else "config/schema")
    for file, text in texts().items():
        (folder / file).write_text(text, encoding="utf-8")
