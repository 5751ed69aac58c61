"""What the versions before wrote, as it was recorded when each was released; `python -m tests.histories` records this one.

A folder a minor version: its `rollouts/` and `durable/` are replayed by the script of today, everything else is read by it.
"""

import json
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent


def recorded(kind: str) -> list[Path]:
    """The files of one kind, of all versions, in order."""
    return sorted(FOLDER.glob(f"*/{kind}/*.json"))


def name(path: Path) -> str:
    """As a test is called: `0.1 promoted`."""
    return f"{path.parts[-3]} {path.stem}"


def read(path: Path) -> Any:
    return json.loads(path.read_text())
