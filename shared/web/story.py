"""The account of one rollout as its readers want it: what led to it, every step in words, and who said what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from shared import book
from shared.messages import formats
from shared.record import EventRecord
from shared.rollout import smoke
from shared.rollout import words as said_words
from shared.rollout.policy import Compare, Smoke
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
    Move,
    Occupied,
    Probe,
    Probed,
    Promote,
    Question,
    Reading,
    Refused,
    Restore,
    Rollout,
    Said,
    Seen,
    Shift,
    Step,
    Tag,
    TakeTurn,
    UnderLoad,
    Verb,
    Word,
)
from shared.rollout.scorecard import scorecard
from shared.web.words import Words
from shared.world import Origin, World

_ROUTINE: Final = (TakeTurn, Look, Bake, Measure, Clear)
_UNEVENTFUL: Final = (Done, Seen, Elapsed, Measured, Busy, Occupied)
BETWEEN: Final[frozenset[Verb]] = frozenset({"replace", "next"})
"""What a rollout says that waits for the endpoint; everything else is said by people."""

_PASSED: Final = {"compared", "nothing to compare with", "assessed", "stage passed"}
"""Sentences that tell of a check that was passed."""


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
    def persons(self) -> list[Word]:
        """What people said; rollouts that wait behind this one have their words too."""
        return [word for word in self.people if word.verb not in BETWEEN]

    @property
    def approvals(self) -> list[Word]:
        return [word for word in self.people if word.verb == "approve"]

    @property
    def passed(self) -> list[Said]:
        """The checks behind it, in their order, with what was measured."""
        found: list[Said] = []
        moved = any(isinstance(step.command, Move) and not isinstance(step.command, Restore) for step in self.steps)
        for step in self.steps:
            if isinstance(step.answer, Probed) and moved:
                found.append(self._probed(step.answer))
            elif step.command.why and step.command.why.code in _PASSED and step.command.why not in found:
                found.append(step.command.why)
        return found

    @property
    def scorecard(self) -> Mapping[str, object]:
        """By cohort, in the words of an event with a picture."""
        found = next((step.answer for step in reversed(self.steps) if isinstance(step.answer, Compared)), None)
        return {"chart": [] if found is None else scorecard(self.about.policy.compare, found)}

    def _probed(self, answer: Probed) -> Said:
        return smoke.passed(self.about.deployment, self.about.policy.smoke or Smoke(), answer)

    @property
    def chapters(self) -> list[Sequence[Step]]:
        """The steps; those of waiting and measuring on the same grounds are taken together."""
        found: list[Sequence[Step]] = []
        for (routine, _), run in groupby(self.steps, key=lambda step: (is_routine(step), step.command.why)):
            steps = list(run)
            found += [steps] if routine else [[step] for step in steps]
        return found


def is_routine(step: Step) -> bool:
    """Waiting, looking or measuring, with nothing to tell of."""
    unknown = isinstance(step.answer, Measured) and step.answer.unknown
    return isinstance(step.command, _ROUTINE) and isinstance(step.answer, _UNEVENTFUL) and not unknown


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


def outcome(answer: Answered, about: Rollout, say: Words) -> str:  # noqa: C901, PLR0912 (one case for each answer, as above)
    """What came of it; "" where there is nothing to say beyond that it is done. Of metrics, those that the policy compares."""
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
            wanted = about.policy.compare
            values = {"candidate": _numbers(answer.candidate, wanted), "champion": _numbers(answer.champion, wanted)}
        case Assessed():
            key = f"{key}.{'none' if not answer.file else 'missing' if answer.missing else 'filled'}"
            values = {"file": answer.file, "missing": ", ".join(answer.missing)}
        case Probed():
            values = {"n": answer.sent, "errors": answer.errors, "p95": formats.number(answer.p95)}
            under = _under_load(answer.load, say) if answer.load else ""
            return " ".join(filter(None, [say(key, **values), under, "; ".join(answer.wrong)]))
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
            key = f"{key}.rollout" if word.verb in BETWEEN else key
            values = {"by": word.by, "verb": say(f"verb.{word.verb}"), "reason": word.reason}
    return say(key, **values)


def _under_load(load: UnderLoad, say: Words) -> str:
    number, failed = formats.number, sum(load.failed.values()) + load.missed
    quantiles = {name: number(round(getattr(load, name), 1)) for name in ("p50", "p95", "p99")}
    return say(
        "answer.Probed.load", n=number(load.sent), rate=number(round(load.rate, 1)), failed=number(failed), **quantiles
    )


def weights(traffic: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {percent}%" for name, percent in traffic.items())


def _numbers(metrics: Mapping[str, float] | None, wanted: Sequence[Compare]) -> str:
    told = [f"{name} {formats.number(value)}" for name, value in (metrics or {}).items() if _compared(name, wanted)]
    return ", ".join(told) or "-"


def _compared(name: str, wanted: Sequence[Compare]) -> bool:
    """Whether the policy asks for this metric, or for its cohorts; one that compares nothing shows them all."""
    if not wanted:
        return True
    return any(name == one.metric or (one.cohorts and name.startswith(f"{one.metric}/")) for one in wanted)


def others(answer: Answered, about: Rollout) -> list[tuple[str, str, str]]:
    """The metrics that were read and are not compared: name, of the candidate, of the one in production."""
    if not isinstance(answer, Compared):
        return []
    mine, theirs = answer.candidate or {}, answer.champion or {}
    names = [name for name in dict.fromkeys([*mine, *theirs]) if not _compared(name, about.policy.compare)]
    return [(name, formats.number(mine.get(name, "-")), formats.number(theirs.get(name, "-"))) for name in names]


def _pairs(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in tags.items())


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
