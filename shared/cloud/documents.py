"""Texts of the configuration folder, as they are now."""

import asyncio
from pathlib import Path

from shared.errors import PermanentError


class Folder:
    """Implements `world.Documents`. A name that leads out of the folder, by a link too, is refused."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def read(self, name: str) -> str | None:
        return await asyncio.to_thread(self._read, name)

    def _read(self, name: str) -> str | None:
        try:
            path = (self._root / name).resolve()
            if not path.is_relative_to(self._root.resolve()):
                raise PermanentError(f"{name!r} is outside of the configuration folder")
            return path.read_text("utf-8-sig") if path.is_file() else None
        except (OSError, ValueError) as error:  # no UTF-8, or a name that no file can have
            raise PermanentError(f"{name!r} in the configuration folder can't be read: {error}") from error
