"""`switchyard impact`: what an edit of the rules would have changed over recorded events. The lines are read once, and each
configuration is rehearsed in a process of its own.
"""

import gzip
import sys
import zlib
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from shared.bounds import Bounds
from shared.cli.given import FailedError, bounds
from shared.errors import printable
from shared.rehearsal.account import as_json, as_markdown, as_text
from shared.rehearsal.impact import Comparison, Part, Replay, Side, impact
from shared.rules.load import Loaded, load_texts
from shared.settings import read_folder

_CHUNK: Final = 2000
"""Lines that are handed over together. Fewer than this in all, and no process is started."""

_AHEAD: Final = 4
_NAMED: Final = 20
"""Lines that cannot be read and are named one by one."""


@dataclass(frozen=True)
class Chunk:
    """Lines of one file. `read`: bytes of it that lie behind."""

    file: str
    first: int
    lines: list[bytes]
    read: int


def run(arguments: Namespace) -> int:
    folders: tuple[Path, Path] = (arguments.from_, arguments.to_)
    texts = (_texts(folders[0]), _texts(folders[1]))
    old = load_texts(texts[0], bounds=bounds())
    loaded = (old, load_texts(texts[1], old.good, old.bounds))  # as in the service: a broken file stays as it was
    for folder, one in zip(folders, loaded, strict=True):
        if one.problems:
            fate = "left out" if one is old else "left as before"
            said = f"{', '.join(one.rejected_files)} {fate} for mistakes: `switchyard check {folder}` names them"
            print(f"switchyard: {folder}: {said}", file=sys.stderr)
    files = _files(arguments.events)
    bad: list[str] = []
    comparison = Comparison()
    with _progress(files, asked=arguments.progress) as advance:
        sides = _replayed(_chunks(files), ((texts[0], {}), (texts[1], old.good)), loaded, comparison, bad, advance)
    for line in bad[:_NAMED]:
        print(f"switchyard: {printable(line)}", file=sys.stderr)
    if len(bad) > _NAMED:
        print(f"switchyard: and {len(bad) - _NAMED} more lines that cannot be read", file=sys.stderr)
    found = impact(sides, comparison.differences(), loaded, bad)
    if arguments.json:
        print(as_json(found))
    elif arguments.markdown:
        print(as_markdown(found), end="")
    else:
        print("\n".join(printable(line) for line in as_text(found).splitlines()))
    return 0


def _texts(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise FailedError(f"there is no configuration folder {folder}")
    return read_folder(folder)


# Reading


def _files(name: str) -> list[Path | None]:
    """None stands for standard input."""
    if name == "-":
        return [None]
    path = Path(name)
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if one.name.endswith((".jsonl", ".jsonl.gz")) and one.is_file())
        if not found:
            raise FailedError(f"{name} holds no events: expected files such as 2026-11-24.jsonl")
        return [*found]
    if not path.is_file():
        raise FailedError(
            f"there is no file {name}: name one with recorded events, a folder of them, or - for standard input"
        )
    return [path]


def _chunks(files: Sequence[Path | None]) -> Iterator[Chunk]:
    for path in files:
        with ExitStack() as stack:
            name = "standard input" if path is None else str(path)
            raw: BinaryIO = sys.stdin.buffer if path is None else stack.enter_context(path.open("rb"))
            lines = stack.enter_context(gzip.open(raw)) if path is not None and path.suffix == ".gz" else raw
            where: Callable[[], int] = raw.tell if path is not None else int
            try:
                yield from _cut(name, lines, where)
            except (OSError, EOFError, zlib.error) as error:
                raise FailedError(f"{name} cannot be read: {error}") from error


def _cut(name: str, lines: "Iterator[bytes] | BinaryIO | gzip.GzipFile", where: Callable[[], int]) -> Iterator[Chunk]:
    held: list[bytes] = []
    n = 0
    for n, line in enumerate(lines, 1):
        held.append(line)
        if len(held) == _CHUNK:
            yield Chunk(name, n - _CHUNK + 1, held, where())
            held = []
    if held:
        yield Chunk(name, n - len(held) + 1, held, where())


# Rehearsing


type _Files = Mapping[str, str]
type _Texts = tuple[tuple[_Files, _Files], tuple[_Files, _Files]]
"""Of each configuration, and what was in force before it."""


class _Both(Protocol):
    """Two configurations, each taking what it is given in turn."""

    def take(self, lines: list[bytes]) -> None: ...
    def parts(self, most: int) -> Iterator[tuple[Part, Part]]: ...
    def close(self) -> tuple[tuple[Part, Side], tuple[Part, Side]]: ...


class _Here:
    """In this process: for some events, quicker than to start two."""

    def __init__(self, loaded: tuple[Loaded, Loaded]) -> None:
        self._sides = (Replay(loaded[0]), Replay(loaded[1]))
        self._parts: list[tuple[Part, Part]] = []

    def take(self, lines: list[bytes]) -> None:
        self._parts.append((self._sides[0].take(lines), self._sides[1].take(lines)))

    def parts(self, _: int) -> Iterator[tuple[Part, Part]]:
        while self._parts:
            yield self._parts.pop(0)

    def close(self) -> tuple[tuple[Part, Side], tuple[Part, Side]]:
        return self._sides[0].close(), self._sides[1].close()


class _There:
    """In two processes, a few pieces ahead of each other."""

    def __init__(self, texts: _Texts, most: Bounds, stack: ExitStack) -> None:
        context = get_context("spawn")
        self._sides = tuple(
            stack.enter_context(
                ProcessPoolExecutor(1, context, initializer=_begin, initargs=(dict(one[0]), dict(one[1]), most))
            )
            for one in texts
        )
        self._waits: deque[tuple[Future[Part], Future[Part]]] = deque()

    def take(self, lines: list[bytes]) -> None:
        first, second = (side.submit(_take, lines) for side in self._sides)
        self._waits.append((first, second))

    def parts(self, most: int) -> Iterator[tuple[Part, Part]]:
        """What is done, until no more than so many are under way."""
        while len(self._waits) > most:
            first, second = self._waits.popleft()
            yield first.result(), second.result()

    def close(self) -> tuple[tuple[Part, Side], tuple[Part, Side]]:
        first, second = (side.submit(_close) for side in self._sides)
        return first.result(), second.result()


_mine: list[Replay] = []
"""Of a process that was started to rehearse one configuration."""


def _begin(texts: dict[str, str], last_good: dict[str, str], most: Bounds) -> None:
    _mine.append(Replay(load_texts(texts, last_good, most)))


def _take(lines: list[bytes]) -> Part:
    return _mine[0].take(lines)


def _close() -> tuple[Part, Side]:
    return _mine[0].close()


def _replayed(  # noqa: PLR0917 (the parts of one run)
    chunks: Iterator[Chunk],
    texts: _Texts,
    loaded: tuple[Loaded, Loaded],
    comparison: Comparison,
    bad: list[str],
    advance: Callable[[Chunk], None],
) -> tuple[Side, Side]:
    first = next(chunks, None)
    few = first is None or len(first.lines) < _CHUNK
    with ExitStack() as stack:
        both: _Both = _Here(loaded) if few else _There(texts, loaded[0].bounds, stack)
        waiting: deque[Chunk] = deque()

        def compare(most: int) -> None:
            for before, after in both.parts(most):
                chunk = waiting.popleft()
                bad.extend(f"{chunk.file}:{chunk.first + n}: {said}" for n, said in before.bad)
                comparison.add(before, after)
                advance(chunk)

        chunk = first
        while chunk is not None:
            waiting.append(chunk)
            both.take(chunk.lines)
            compare(_AHEAD)
            chunk = next(chunks, None)
        compare(0)
        (before, old), (after, new) = both.close()
        comparison.add(before, after)
    return old, new


@contextmanager
def _progress(files: Sequence[Path | None], *, asked: bool) -> Iterator[Callable[[Chunk], None]]:
    """A bar on standard error, where somebody looks."""
    if not (asked or sys.stderr.isatty()):
        yield lambda _: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    except ImportError:  # not installed where only the service is
        yield lambda _: None
        return
    sizes = {str(path): path.stat().st_size for path in files if path is not None}
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, force_terminal=asked or None)) as bar:
        task = bar.add_task("events", total=sum(sizes.values()) or None)
        behind, done, counted = dict.fromkeys(sizes, 0), 0, 0

        def advance(chunk: Chunk) -> None:
            nonlocal done, counted
            counted += len(chunk.lines)
            if chunk.file in behind:
                done += chunk.read - behind[chunk.file]
                behind[chunk.file] = chunk.read
            bar.update(task, completed=done, description=f"{counted:,} events")

        yield advance
