"""What went wrong, named by what the caller does next. Anything else that rises is a bug and may rise."""

from dataclasses import dataclass


class TemporaryError(Exception):
    """Again later: the far side is busy or out of reach.

    `retry_after`: seconds the far side asked for, if it did. `sent`: the request may have taken effect although no
    answer came back, so a repetition may be a second effect where the far side does not know the key.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, sent: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.sent = sent


class PermanentError(Exception):
    """Never like this: record it, tell someone, do not try again.

    `maybe_twice`: whether the effect may have happened twice, where who raises it knows better than the journal.
    """

    def __init__(self, reason: str, *, maybe_twice: bool | None = None) -> None:
        super().__init__(reason)
        self.maybe_twice = maybe_twice


class MissingError(PermanentError):
    """What was asked for is not there."""


class ConflictError(PermanentError):
    """Somebody else's is in its place."""


class QuotaError(PermanentError):
    """There is no room for it: somebody must free some, or ask for more."""


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a file that a person wrote. `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


def printable(text: str) -> str:
    """What others wrote, for a terminal or a log: control characters are shown, not obeyed."""
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
