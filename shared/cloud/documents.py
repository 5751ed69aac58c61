"""Texts of the configuration folder, as they are now."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from shared.errors import PermanentError, TemporaryError
from shared.settings import configuration, read_folder

type _Looks = dict[str, tuple[int, int]]
"""When each file was written, and its size."""


class Folder:
    """Implements `world.Documents`. A name that leads out of the folder, by a link too, is refused."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._taken: _Looks | None = None
        self._before: _Looks = {}

    async def read(self, name: str) -> str | None:
        return await asyncio.to_thread(self._read, name)

    async def changed(self) -> Mapping[str, str] | None:
        return await asyncio.to_thread(self._changed)

    async def close(self) -> None:
        """Nothing is held open; a container is closed."""

    def _read(self, name: str) -> str | None:
        try:
            path = (self._root / name).resolve()
            if not path.is_relative_to(self._root.resolve()):
                raise PermanentError(f"{name!r} is outside of the configuration folder")
            return path.read_text("utf-8-sig") if path.is_file() else None
        except (OSError, ValueError) as error:  # no UTF-8, or a name that no file can have
            raise PermanentError(f"{name!r} in the configuration folder can't be read: {error}") from error

    def _changed(self) -> dict[str, str] | None:
        """Editors write in several steps: a change is taken up when it looks the same twice."""
        try:
            looks = self._looks()
            settled = self._taken is None or looks == self._before
            self._before = looks
            if looks == self._taken or not settled:
                return None
            texts = read_folder(self._root)
            if self._looks() != looks:
                return None
        except OSError as error:
            raise TemporaryError(f"the configuration folder can't be read: {error}") from error
        self._taken = looks
        return texts

    def _looks(self) -> _Looks:
        if not self._root.is_dir():
            raise TemporaryError(f"there is no configuration folder {self._root}")
        states = ((name, path.stat()) for name, path in configuration(self._root))
        return {name: (state.st_mtime_ns, state.st_size) for name, state in states}
