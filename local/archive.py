"""The embedded archive: a file of JSON lines for each day, beside the state file."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import date
from pathlib import Path
from typing import BinaryIO, Final

_TAIL: Final = ".jsonl"
_AT_ONCE: Final = 1000
_BLOCK: Final = 1 << 16


class FileArchive:
    """`world.Archive`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing = threading.Lock()

    async def append(self, day: date, lines: Sequence[str]) -> None:
        if lines:
            await asyncio.to_thread(self._append, day, lines)

    async def days(self) -> Sequence[date]:
        return [date.fromisoformat(path.name.removesuffix(_TAIL)) for path in await asyncio.to_thread(self._files)]

    async def read(self, day: date) -> AsyncIterator[str]:
        at = 0
        while True:
            lines, at = await asyncio.to_thread(self._read, day, at)
            for line in lines:
                yield line
            if not lines:
                return

    async def prune(self, before: date) -> int:
        def work() -> int:
            old = [path for path in self._files() if path.name < f"{before}{_TAIL}"]
            for path in old:
                path.unlink()
            return len(old)

        return await asyncio.to_thread(work)

    def _path(self, day: date) -> Path:
        return self._folder / f"{day}{_TAIL}"

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"????-??-??{_TAIL}"))

    def _append(self, day: date, lines: Sequence[str]) -> None:
        with self._writing:
            self._write(day, lines)

    def _write(self, day: date, lines: Sequence[str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        new = not self._path(day).exists()
        with self._path(day).open("ab+") as file:
            end = _whole(file.seek(0, os.SEEK_END), file)
            file.truncate(end)  # the half of a line from a kill: its event is copied again
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
        if new and os.name != "nt":  # the name is to last as well
            folder = os.open(self._folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def _read(self, day: date, at: int) -> tuple[list[str], int]:
        lines: list[str] = []
        try:
            with self._path(day).open("rb") as file:
                file.seek(at)
                for raw in file:
                    if not raw.endswith(b"\n"):
                        break
                    at += len(raw)
                    lines.append(raw[:-1].decode())
                    if len(lines) == _AT_ONCE:
                        break
        except FileNotFoundError:
            return [], at
        return lines, at


def _whole(size: int, file: BinaryIO) -> int:
    """Where the last whole line ends."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
