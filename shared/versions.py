"""What the configuration was: the newest versions, each with the texts that were in force together, on the world's shelf.

A version is one row that names its texts by what is in them: whoever is killed while one is being kept leaves the one before.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from shared.errors import PermanentError
from shared.world import Shelf

if TYPE_CHECKING:  # the rule compiler is heavy, and whoever asks for the history does not need it
    from shared.rules.load import Loaded

VERSIONS: Final = "config-versions"
TEXTS: Final = "config-texts"
KEPT: Final = 50
"""Versions; older ones are forgotten, with the texts that no other has."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)


class Version(msgspec.Struct, frozen=True):
    """What was in force from `at` on. `files`: the digests of the texts without a mistake, by name. `changed`, `removed`: names of
    those that the version before did not have, or had otherwise. `rejected` had mistakes; `kept` of them ran as they were before.
    """

    version: str
    at: datetime
    rules: int
    files: dict[str, str]
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def same(self, other: "Version | None") -> bool:
        """Whether nothing happened between them."""
        mine = (self.version, self.files, self.rejected, self.kept)
        return other is not None and mine == (other.version, other.files, other.rejected, other.kept)


_json: Final = msgspec.json.Encoder(order="sorted")


def _name(version: Version) -> str:
    """The newest first."""
    return f"{10**17 - (version.at - _EPOCH) // _TICK:018d}-{version.version}"


def digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def of(loaded: "Loaded", at: datetime) -> Version:
    """What is in force, before it is kept."""
    files = {name: digest(text) for name, text in loaded.good.items()}
    return Version(loaded.version, at, len(loaded.rules), files, rejected=loaded.rejected_files, kept=loaded.kept)


async def history(shelf: Shelf, limit: int = KEPT) -> list[Version]:
    """Newest first, without those that only a newer Switchyard can read."""
    found = [_read(text) for _, text in await shelf.all(VERSIONS, limit=limit)]
    return [version for version in found if version is not None]


def _read(text: str) -> Version | None:
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(text, type=Version)
    return None


async def newest(shelf: Shelf) -> Version | None:
    found = await history(shelf, 1)
    return found[0] if found else None


async def texts(shelf: Shelf, version: Version) -> dict[str, str]:
    """The texts of a version, without those that could not be kept."""
    found = await asyncio.gather(*(shelf.get(TEXTS, one) for one in version.files.values()))
    return {name: text for name, text in zip(version.files, found, strict=True) if text is not None}


async def keep(shelf: Shelf, new: Version, good: Mapping[str, str], before: Version | None) -> Version:
    """Keeps a version with its texts, behind the one before. A text that no shelf takes is not kept."""
    old = before.files if before else {}
    there = set(old.values())
    for name in sorted(new.files):
        if new.files[name] not in there:
            with suppress(PermanentError, UnicodeEncodeError):  # too long, or no text
                await shelf.put(TEXTS, new.files[name], good[name])
    if before is not None:
        new = replace(
            new,
            at=max(new.at, before.at + _TICK),
            changed=tuple(sorted(name for name, text in new.files.items() if old.get(name) != text)),
            removed=tuple(sorted(set(old) - set(new.files))),
        )
    await shelf.put(VERSIONS, _name(new), _json.encode(new).decode())
    await _forget(shelf)
    return new


async def _forget(shelf: Shelf) -> None:
    rows = await shelf.all(VERSIONS)
    if len(rows) <= KEPT:
        return
    needed = {digest for _, text in rows[:KEPT] for digest in _digests(text)}
    for name, text in rows[KEPT:]:
        await shelf.swap(VERSIONS, name, text, None)
        for one in _digests(text) - needed:
            await shelf.swap(TEXTS, one, await shelf.get(TEXTS, one), None)


def _digests(text: str) -> set[str]:
    version = _read(text)
    return set(version.files.values()) if version else set()
