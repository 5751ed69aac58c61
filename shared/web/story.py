"""The account of one rollout as its readers want it: what led to it, every step in words, and who said what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from shared import book
from shared.messages import formats
from shared.record import EventRecord
from shared.rollout import words as said_words
from shared.rollout.record import (
    ENDED,
    Announce,
    Answered,
    Ask,
    Asked,
    Assess,
    Assessed,
    Bake,
    Busy,
    Changed,
    Clear,
    Compared,
    CompareModels,
    Create,
    Delete,
    Done,
    Elapsed,
    EndpointState,
    Finish,
    Frozen,
    Head,
    Heard,
    Look,
    Measure,
    Measured,
    Mirror,
    Occupied,
    Probe,
    Probed,
    Promote,
    Question,
    Reading,
    Refused,
    Restore,
    Rollout,
    Seen,
    Shift,
    Step,
    Tag,
    TakeTurn,
    Word,
)
from shared.web.words import Words
from shared.world import Origin, World

_ROUTINE: Final = (TakeTurn, Look, Bake, Measure, Clear)
_UNEVENTFUL: Final = (Done, Seen, Elapsed, Measured, Busy, Occupied)
_FEW: Final = 3
"""So many routine steps in a row are shown one by one; more are folded."""


@dataclass(frozen=True)
class Story:
    """`event`: the record of the event that started it, while it is kept. `origin`: of the model version."""

    about: Rollout
    head: Head
    steps: Sequence[Step]
    people: Sequence[Word]
    origin: Origin | None = None
    event: EventRecord | None = None

    @property
    def model(self) -> str:
        return f"{self.about.model}:{self.about.version}"

    @property
    def ended(self) -> bool:
        return self.head.status in ENDED

    @property
    def readings(self) -> Sequence[Reading]:
        """The newest that a decision was made on."""
        return next((step.command.readings for step in reversed(self.steps) if step.command.readings), ())

    @property
    def question(self) -> Question | None:
        """What is asked and not answered yet."""
        asked = self.head.question
        return None if self.ended or asked is None or self.answer_to(asked.n) else asked

    def asked(self, n: int) -> Question | None:
        """The question with this number, open or not."""
        for step in self.steps:
            if step.n == n and isinstance(step.command, Ask):
                return Question(n, step.command.question, step.command.until, step.command.of)
        return self.head.question if self.head.question and self.head.question.n == n else None

    def answer_to(self, ask: int) -> Word | None:
        return next((word for word in self.people if word.ask == ask and word.verb in {"approve", "reject"}), None)

    @property
    def chapters(self) -> list[Sequence[Step]]:
        """The steps, long runs of waiting and measuring taken together."""
        found: list[Sequence[Step]] = []
        for routine, run in groupby(self.steps, key=_is_routine):
            steps = list(run)
            found += [steps] if routine and len(steps) > _FEW else [[step] for step in steps]
        return found


def _is_routine(step: Step) -> bool:
    return isinstance(step.command, _ROUTINE) and isinstance(step.answer, _UNEVENTFUL)


async def read(world: World, id_: str) -> Story | None:
    about = await book.rollout(world.shelf, id_)
    if about is None:
        return None
    return Story(
        about,
        await book.head(world.shelf, about),
        await book.steps(world.shelf, id_),
        await book.words(world.shelf, id_),
        await book.origin(world.shelf, id_),
        await world.store.event(about.event) if about.event else None,
    )


# Steps in words


def deed(command: Asked, say: Words) -> str:
    """What was asked for."""
    key, values = f"step.{type(command).__name__}", dict[str, object]()
    match command:
        case TakeTurn() | Look() | Assess() | Create() | Probe() | Clear():
            pass
        case CompareModels():
            key = key if command.champion else f"{key}.alone"
            values = {"champion": command.champion}
        case Mirror():
            values = {"mirror": weights(command.mirror)}
        case Shift() | Promote() | Restore():
            values = {"traffic": weights(command.traffic)}
        case Bake():
            values = {"until": _clock(command.until)}
        case Measure():
            values = {"since": _clock(command.since)}
        case Ask():
            key = key if command.of else f"{key}.nobody"
            values = {"of": command.of, "question": said_words.tell(command.question, say.language)}
        case Tag():
            values = {"model": f"{command.model}:{command.version}", "tags": _pairs(command.tags)}
        case Delete():
            values = {"deployment": command.deployment}
        case Announce():
            values = {"kind": command.kind}
        case Finish():
            values = {"verdict": say(f"rollout.{command.verdict}")}
    return say(key, **values)


def outcome(answer: Answered, say: Words) -> str:  # noqa: C901, PLR0912 (one case for each answer, as above)
    """What came of it; "" where there is nothing to say beyond that it is done."""
    key, values = f"answer.{type(answer).__name__}", dict[str, object]()
    match answer:
        case Done():
            return answer.said or (say("answer.again") if answer.again else "")
        case Elapsed():
            return ""
        case Busy() | Refused():
            values = {"reason": answer.reason}
        case Seen(endpoint=EndpointState(traffic=traffic)):
            values = {"traffic": weights(traffic) or "0%"}
        case Seen():
            key = f"{key}.none"
        case Compared() | Measured() if answer.unknown:
            key, values = "answer.unknown", {"reason": answer.unknown}
        case Compared():
            key = key if answer.champion else f"{key}.alone"
            values = {"candidate": _numbers(answer.candidate), "champion": _numbers(answer.champion)}
        case Assessed():
            key = f"{key}.{'none' if not answer.file else 'missing' if answer.missing else 'filled'}"
            values = {"file": answer.file, "missing": ", ".join(answer.missing)}
        case Probed():
            values = {"n": answer.sent, "errors": answer.errors, "p95": formats.number(answer.p95)}
            return " ".join([say(key, **values), "; ".join(answer.wrong)]).strip()
        case Measured():
            requests = sum(pair.canary.requests for pair in answer.pairs if pair.canary)
            values = {"n": len(answer.pairs), "requests": formats.number(requests)}
        case Changed():
            values = {"traffic": weights(answer.traffic)}
        case Occupied():
            values = {"holder": answer.holder}
        case Frozen():
            values = {"reason": answer.reason, "owner": answer.owner, "until": _clock(answer.until)}
        case Heard():
            word = answer.word
            values = {"by": word.by, "verb": say(f"verb.{word.verb}"), "reason": word.reason}
    return say(key, **values)


def weights(traffic: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {percent}%" for name, percent in traffic.items())


def _numbers(metrics: Mapping[str, float] | None) -> str:
    return ", ".join(f"{name} {formats.number(value)}" for name, value in (metrics or {}).items())


def _pairs(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in tags.items())


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
