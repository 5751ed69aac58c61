"""Dead letters of the embedded host: a folder beside the state file, where the simulated Event Grid or a person puts them."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from shared.errors import PermanentError
from shared.world import Left

FOLDER: Final = "dead-letters"


class FolderDeadLetters:
    """`world.DeadLetters`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def names(self, limit: int) -> Sequence[str]:
        return await asyncio.to_thread(self._names, limit)

    def _names(self, limit: int) -> list[str]:
        # Those that end otherwise are still being written.
        found = (path for path in self._folder.rglob("*.json") if path.is_file())
        names = (path.relative_to(self._folder).as_posix() for path in found)
        return sorted(name for name in names if name.isprintable())[
            :limit
        ]  # any bytes are a name, and not all are text

    async def read(self, name: str) -> Left | None:
        try:
            content = await asyncio.to_thread((self._folder / name).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(name, error) from error
        return Left(content, sha256(content).hexdigest())

    async def drop(self, name: str, mark: str) -> None:
        there = await self.read(name)
        if there is not None and there.mark == mark:
            try:
                await asyncio.to_thread((self._folder / name).unlink, missing_ok=True)
            except OSError as error:
                raise _refused(name, error) from error


def _refused(name: str, error: OSError) -> PermanentError:
    return PermanentError(f"the dead letter {name}: {error.strerror}")
