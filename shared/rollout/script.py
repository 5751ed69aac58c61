"""What happens next in a rollout: a script that asks for one thing at a time and is answered.

Pure, and replayed from the recorded answers: the same answers give the same commands. Time is `rollout.at` and the `at` of
each answer. Everything that is retried is retried here; below, each command is done once.

A rollout that runs through a deployment goes on by the script it began with. So whatever asks for something else than before,
or in another order, is a new version: one more line in CHANGES (record.py), and `_since` at the place of the change. What each
version before asked for is on record in tests/histories, and is replayed.
"""

from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from shared.errors import PermanentError
from shared.rollout.hours import closed_at, next_opening, open_at
from shared.rollout.judge import Judge
from shared.rollout.policy import Approval, Compare, Stage
from shared.rollout.record import (
    OLDEST,
    SCRIPT,
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
    Heard,
    Look,
    Measure,
    Measured,
    Mirror,
    Occupied,
    Probe,
    Probed,
    Promote,
    Reading,
    Refused,
    Restore,
    Rollout,
    Said,
    Seen,
    Shift,
    Status,
    Tag,
    TakeTurn,
    Verdict,
    Weights,
    Word,
)
from shared.rollout.smoke import passed, trouble

type Steps[T] = Generator[Asked, Answered, T]
type Values = dict[str, str | int | float]
type Traffic = tuple[Weights, Weights]
"""Live and mirrored."""

MINUTE: Final = 60.0
FOLLOW: Final = 15.0
"""Between two looks at something that is under way."""
LAG: Final = 300.0
"""Counts come about three minutes late, and by whole minutes: until then nothing is amiss."""
LATE: Final = 900.0
"""Logs may take longer now and then: so long the newest minutes that nobody knows yet are asked for again."""
PIECE: Final = 900.0
"""The longest that a freeze, or an old deployment, is kept without another look."""
AGAIN: Final = 900.0
"""Between two looks at whether an extended stage passes."""
WATCH: Final = 300.0
"""Between two looks at the counts while a person is asked about a canary that has traffic."""
DAY: Final = 86_400.0
"""How long a person may take over a question for which the policy names no time."""
INSIST: Final = 4
"""How many times the policy's patience the way back is tried."""
SETTLE: Final = 300.0
"""A change of traffic has at least so long to be seen, however little patience the policy has."""
GLASS: Final = 2
"""How many persons it takes to override a freeze."""
STALE: Final = 3600.0
"""So old a smoke test says little about the deployment that is to get traffic now."""

ROLLOUT_TAG: Final = "switchyard_rollout"
"""On every deployment and model version that a rollout made or labelled: its id."""

_BACKOFF: Final = (5.0, 60.0)
_DEAF: Final = 20
_MOVING: Final = frozenset({"Creating", "Updating", "Deleting"})
_FAILED: Final = frozenset({"Failed", "Canceled"})


class UnplayableError(PermanentError):
    """A rollout that the script of this version can't go on with: nothing is touched, and a person has to look."""


def script(rollout: Rollout) -> Steps[Verdict]:
    """From the turn at the endpoint to the one Finish, whatever is answered, by the version that the rollout began with.

    Raises UnplayableError, before it asks for anything, where that is none of ours.
    """
    if not OLDEST <= rollout.script <= SCRIPT:
        age = "an older" if rollout.script < OLDEST else "a newer"
        raise UnplayableError(
            f"it was begun by {age} version of Switchyard: by version {rollout.script} of the script, and this one knows"
            f" {' and '.join(str(one) for one in range(OLDEST, SCRIPT + 1))}"
        )
    run = _Run(rollout)
    try:
        return (yield from run.forward())
    except _Back as back:
        return (yield from run.backward(back))
    except _Stuck as stuck:
        return (yield from run.stuck(stuck.why))


def expect(n: int, recorded: str, command: Asked | None) -> None:
    """Raises UnplayableError unless the script asks for what is on record as step `n`, by the name of its type."""
    asks = type(command).__name__ if command else "nothing more"
    if asks != recorded:
        raise UnplayableError(
            f"its record can't be replayed by this version of Switchyard: at step {n} {recorded} is on record, and the"
            f" script asks for {asks}"
        )


class _Back(Exception):  # noqa: N818 (no error: the way out of whatever the script was about)
    """To where it began. `blamed`: the candidate was found wanting, and its version is labelled so, as it is whenever it has
    had traffic; None where it is surely not to blame. `rejected`: a person labelled it already.
    """

    def __init__(
        self, why: Said, readings: tuple[Reading, ...] = (), *, blamed: bool | None = False, rejected: bool = False
    ) -> None:
        super().__init__(why.code)
        self.why, self.readings, self.blamed, self.rejected = why, readings, blamed, rejected


class _Stuck(Exception):  # noqa: N818 (as above)
    """A person has to look: nothing more is touched."""

    def __init__(self, why: Said) -> None:
        super().__init__(why.code)
        self.why = why


class _Watch(Struct):
    """What is known about the stage that runs. `since`: where the next look at the counts begins; `known`: until when it is
    known how both arms do; `dark`: since when the looks bring nothing new; `counted`: seconds that count for the stage; `bad`:
    since when both arms are bad; `asked`: whether a person is asked about that; `forgiven`: gates whose breach a person has
    accepted.
    """

    since: datetime
    known: datetime
    counted: float = 0.0
    requests: int = 0
    dark: datetime | None = None
    bad: datetime | None = None
    asked: bool = False
    status: Status = "baking"
    forgiven: frozenset[str] = frozenset()


# Time


def _ceiling(moment: datetime) -> datetime:
    """The next whole minute."""
    whole = moment.replace(second=0, microsecond=0)
    return whole if whole == moment else whole + timedelta(minutes=1)


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


# Traffic


def shares(start: Weights, canary: str, percent: int) -> Weights:
    """So much for the canary; the others keep their proportions among each other, by the largest remainder."""
    others = {name: weight for name, weight in sorted(start.items()) if name != canary and weight > 0}
    rest, total = 100 - percent, sum(others.values())
    if not others:
        return {canary: 100}
    floors = {name: weight * rest // total for name, weight in others.items()}
    by_remainder = sorted(others, key=lambda name: (-(others[name] * rest % total), name))
    for name in by_remainder[: rest - sum(floors.values())]:
        floors[name] += 1
    return {name: weight for name, weight in {**floors, canary: percent}.items() if weight}


def _traffic(endpoint: EndpointState) -> Traffic:
    return _weights(endpoint.traffic), _weights(endpoint.mirror)


def _weights(found: Weights) -> Weights:
    return {name: weight for name, weight in sorted(found.items()) if weight}


def _text(traffic: Traffic) -> str:
    live, mirrored = (", ".join(f"{name} {weight} %" for name, weight in sorted(arm.items())) for arm in traffic)
    return f"{live or '0 %'} (+ {mirrored})" if mirrored else live or "0 %"


# What was found out


def _held(
    compare: Compare, candidate: dict[str, float], champion: dict[str, float] | None
) -> Iterator[tuple[str, bool | None]]:
    """Each comparison in figures, and whether it holds: None where nobody knows. `champion` is None where nothing is live."""
    rival = champion if compare.against == "champion" else None
    cohorts: list[str] = []
    if compare.cohorts:
        prefix = f"{compare.metric}/"
        cohorts = sorted(name for name in {*candidate, *(rival or {})} if name.startswith(prefix)) or [f"{prefix}*"]
    for name in (compare.metric, *cohorts):
        least = compare.cohort_at_least if name != compare.metric else None
        least = compare.at_least if least is None else least
        value = candidate.get(name)
        if compare.against == "champion" and champion is None:
            yield f"{name} {'?' if value is None else f'{value:g}'}", True
            continue
        reference = champion.get(name) if compare.against == "champion" and champion is not None else compare.against
        if value is None or not isinstance(reference, int | float):
            yield name, None
            continue
        first, second = (reference, value) if compare.lower_is_better else (value, reference)
        difference = round(first - second, 12)
        held = difference >= least
        yield f"{name} {first:g} - {second:g} = {difference:g} {'>=' if held else '<'} {least:g}", held


_REFUSED: Final = {
    "quota": "refused quota",
    "conflict": "refused conflict",
    "missing": "refused missing",
    "fault": "refused fault",
}


def _trouble(command: str, answer: Answered) -> Said:
    """Why it can not be done, in words."""
    match answer:
        case Busy(reason=reason):
            return Said("busy", {"what": command, "detail": reason})
        case Refused(reason=reason, code=code):
            return Said(_REFUSED.get(code, "refused"), {"what": command, "detail": reason})
        case _:
            return Said("refused fault", {"what": command, "detail": f"answered by {type(answer).__name__}"})


def _figures(readings: list[Reading]) -> Values:
    """What the first of them measured, with the sample it is based on."""
    if not readings:
        return {"gate": "-", "canary": "-", "baseline": "-", "figure": "-"}
    first = readings[0]
    return {
        "gate": ", ".join(one.gate for one in readings),
        "canary": _share(first.gate, first.canary_bad, first.canary_total),
        "baseline": _share(first.gate, first.baseline_bad, first.baseline_total),
        "figure": _figure(first),
    }


def _share(gate: str, bad: float, total: float) -> str:
    if gate.startswith("mean_"):
        return f"n = {total:.0f}"
    return f"{100 * bad / total:.2f} % ({bad:.0f}/{total:.0f})" if total else "? (0/0)"


def _figure(one: Reading) -> str:
    """The measured value and the threshold it went over."""
    measured = (
        "" if one.estimate is None or one.limit is None else f"{100 * one.estimate:+.1f} % > {100 * one.limit:+g} %, "
    )
    if one.e is not None and one.threshold is not None:
        return f"{measured}e {one.e:.3g} >= {one.threshold:.3g}"
    return f"> {100 * one.limit:g} %" if one.limit is not None else "-"


def _by(word: Word) -> Values:
    return {"by": word.by, "reason": word.reason}


class _Run:
    """One rollout as far as it has come. Its methods ask, and keep what they learn."""

    def __init__(self, rollout: Rollout) -> None:
        self.about, self.policy, self.canary = rollout, rollout.policy, rollout.deployment
        self.candidate = f"{rollout.model}:{rollout.version}"
        self.judge = Judge(rollout.policy.gates)
        self.now = rollout.at
        self.asked = -1
        """The number of the newest command, from 0."""
        self.question = -1
        self.status: Status = "checking"
        self.percent = 0
        self.why = Said("begins", {"model": self.candidate, "endpoint": rollout.endpoint})
        self.phase: Literal["forward", "keeping", "deaf"] = "forward"
        self.hurried = False
        self.glass: dict[str, str] = {}
        # Of the endpoint
        self.start: Traffic = ({}, {})
        self.left: Traffic = ({}, {})
        self.before: Traffic = ({}, {})
        self.had: frozenset[str] = frozenset()
        self.champion = ""
        self.created = self.stands = self.moved = self.seen = self.replaced = False
        """`seen`: whether the traffic was read as it was written last."""
        self.probed: datetime | None = None
        """When the smoke test was passed."""
        self.watch: _Watch | None = None

    def _since(self, version: int) -> bool:
        """Whether this rollout began with a script that has this change."""
        return self.about.script >= version

    # One thing at a time

    def _do(self, command: Asked) -> Steps[Answered]:
        """The one place that asks."""
        self.asked += 1
        answer = yield replace(command, percent=self.percent, why=command.why or self.why)
        self.now = max(self.now, answer.at)
        return answer

    def _insist(self, command: Asked, patience: float | None = None, *, forward: bool = False) -> Steps[Answered]:
        """The answer; Busy only after patience. `forward`: a freeze that begins meanwhile, or a window that ends, holds it."""
        end = self.now + timedelta(seconds=self.policy.patience if patience is None else patience)
        cleared, (backoff, longest) = self.now, _BACKOFF
        while True:
            answer = yield from self._do(command)
            if not isinstance(answer, Busy) or self.now >= end:
                return answer
            later = self.now + timedelta(seconds=max(answer.after or 0.0, backoff))
            yield from self._pause(min(later, end))
            if forward and self.now > cleared + timedelta(seconds=MINUTE):
                begins = self.now
                yield from self._clear()
                cleared = self.now
                end += cleared - begins
            backoff = min(2 * backoff, longest)

    def _pause(
        self,
        until: datetime,
        *,
        ask: int | None = None,
        readings: tuple[Reading, ...] = (),
        early: Callable[[], bool] | None = None,
    ) -> Steps[Word | None]:
        """Time passes. Returns the word that decides here, None when the time is over or (`early`) a word made it so."""
        for _ in range(_DEAF):
            answer = yield from self._do(Bake(status=self.status, until=until, ask=ask, readings=readings))
            while isinstance(answer, Heard):
                if self._hear(answer.word, ask):
                    return answer.word
                if early is not None and early():
                    return None
                answer = yield from self._do(Bake(status=self.status, until=until, ask=ask, readings=readings))
            if not isinstance(answer, Busy):
                break
        if not isinstance(answer, Elapsed) and self.phase == "forward":
            raise _Back(_trouble("Bake", answer))
        self.now = max(self.now, until)
        return None

    def _hear(self, word: Word, ask: int | None) -> bool:
        """Whether this word decides here. It rises where it ends the rollout; a word that does not fit is let go."""
        if self.phase == "deaf":
            return False
        match word.verb:
            case "abort" | "reject" if self.phase == "keeping" and word.ask is None:
                raise _Back(Said("taken back", _by(word)), blamed=word.verb == "reject")
            case "abort":
                raise _Back(Said("aborted", _by(word)))
            case "replace":
                if not self.moved:
                    raise _Back(Said("replaced", {"by": word.by}))
            case "override":
                self.glass.setdefault(word.by.strip().casefold(), word.by)
            case "next":
                self.hurried = True
            case "approve" | "reject":
                return ask is not None and word.ask == ask
        return False

    def _look(self) -> Steps[EndpointState]:
        """The endpoint; back where it can not be seen, or the candidate must not go on."""
        answer = yield from self._insist(Look(status=self.status))
        if not isinstance(answer, Seen):
            raise _Back(_trouble("Look", answer))
        if answer.endpoint is None:
            raise _Back(Said("no endpoint", {"endpoint": self.about.endpoint}))
        self._still_good(answer.endpoint, answer.tags)
        return answer.endpoint

    def _still_good(self, endpoint: EndpointState, tags: dict[str, str] | None) -> None:
        if self._rejected(tags):
            raise _Back(Said("rejected in registry", {"model": self.candidate}), rejected=True)
        if not self.stands:
            return
        canary = endpoint.deployment(self.canary)
        if canary is None:
            raise _Back(Said("deployment gone", {"deployment": self.canary}))
        if canary.state in _FAILED:
            raise _Back(Said("deployment failed", {"deployment": self.canary, "detail": canary.error or canary.state}))

    def _rejected(self, tags: dict[str, str] | None) -> bool:
        label = self.policy.labels.rejected
        return bool(label) and tags is not None and label.items() <= tags.items()

    # The way forward

    def forward(self) -> Steps[Verdict]:
        yield from self._take_turn()
        endpoint = yield from self._arrive()
        if endpoint.traffic and self._is_live(endpoint):
            self.percent, self.why = (
                100,
                Said("live already", {"model": self.candidate, "endpoint": self.about.endpoint}),
            )
            yield from self._announce("RolloutCompleted")
            return (yield from self._finish("promoted"))
        yield from self._announce("RolloutStarted")
        if not self.about.restores:
            yield from self._compare()
            yield from self._assess()
        yield from self._create(endpoint)
        yield from self._probe()
        if self.policy.approve and not self.about.restores:
            question = Said(
                "may it begin",
                {
                    "model": self.candidate,
                    "endpoint": self.about.endpoint,
                    "silence": self.policy.approve.otherwise,
                },
            )
            yield from self._approved(self.policy.approve, question)
        yield from self._stages()
        yield from self._promote()
        yield from self._keep()
        return (yield from self._finish("promoted"))

    def _take_turn(self) -> Steps[None]:
        begins = self.why
        while True:
            answer = yield from self._insist(TakeTurn(status=self.status))
            match answer:
                case Done():
                    break
                case Occupied(holder=holder):
                    self.status = "waiting"
                    self.why = Said("waits", {"holder": holder, "endpoint": self.about.endpoint})
                    yield from self._pause(self._after(MINUTE))
                case _:
                    raise _Back(_trouble("TakeTurn", answer))
        self.status, self.why = "checking", begins

    def _arrive(self) -> Steps[EndpointState]:
        """The endpoint as it is found, which is what a rollback goes back to."""
        end = self._after(self.policy.patience)
        while True:
            asked = self.now
            answer = yield from self._insist(Look(status=self.status))
            if not isinstance(answer, Seen):
                raise _Back(_trouble("Look", answer))
            endpoint, tags = answer.endpoint, answer.tags
            if endpoint is None:
                raise _Back(Said("no endpoint", {"endpoint": self.about.endpoint}))
            own = endpoint.deployment(self.canary)
            if endpoint.state not in _MOVING and (own is None or own.state != "Deleting"):
                break
            if asked >= end:
                raise _Back(Said("endpoint busy", {"endpoint": endpoint.name, "state": endpoint.state}))
            yield from self._pause(self._after(FOLLOW))
        self._remember(endpoint)
        if tags is None:
            raise _Back(Said("no model", {"model": self.candidate}))
        self._still_good(endpoint, tags)
        if own is not None and own.model != self.candidate:
            raise _Back(Said("name taken", {"deployment": own.name, "model": own.model}))
        if endpoint.state in _FAILED:
            raise _Back(Said("endpoint failed", {"endpoint": endpoint.name, "state": endpoint.state}))
        if endpoint.kubernetes and not self._skipped() and any(stage.mirror for stage in self.policy.stages):
            raise _Back(Said("no mirror", {"endpoint": endpoint.name}))
        return endpoint

    def _remember(self, endpoint: EndpointState) -> None:
        self.start = self.left = self.before = _traffic(endpoint)
        self.had = frozenset(one.name for one in endpoint.deployments)
        if self.others:
            first = endpoint.deployment(max(self.others, key=lambda name: (self.start[0][name], name)))
            self.champion = first.model if first else ""
        self.why = Said(
            "found",
            {
                "model": self.candidate,
                "endpoint": endpoint.name,
                "traffic": _text(self.start),
                "champion": self.champion or "-",
            },
        )

    @property
    def others(self) -> tuple[str, ...]:
        """Those that were live at the start."""
        return tuple(name for name in self.start[0] if name != self.canary)

    def _is_live(self, endpoint: EndpointState) -> bool:
        live = [endpoint.deployment(name) for name in self.start[0]]
        return bool(live) and all(one is not None and one.model == self.candidate for one in live)

    def _after(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)

    # Checks

    def _compare(self) -> Steps[None]:
        if not self.policy.compare:
            return
        answer = yield from self._insist(CompareModels(status=self.status, champion=self.champion))
        if not isinstance(answer, Compared):
            raise _Back(_trouble("CompareModels", answer))
        champion = (answer.champion or {}) if self.others else None
        held = [line for one in self.policy.compare for line in _held(one, answer.candidate or {}, champion)]
        worse = [text for text, good in held if good is False]
        unknown = [text for text, good in held if good is None]
        values: Values = {
            "model": self.candidate,
            "champion": self.champion or "-",
            "held": len(held) - len(worse) - len(unknown),
            "of": len(held),
        }
        if worse:
            raise _Back(Said("worse", values | {"figures": "; ".join(worse)}), blamed=True)
        if unknown:
            why = Said("not comparable", values | {"figures": ", ".join(unknown), "detail": answer.unknown or "-"})
            raise _Back(why, blamed=True)
        figures: Values = {"figures": "; ".join(text for text, _ in held)}
        self.why = Said("compared" if self.others else "nothing to compare with", values | figures)

    def _assess(self) -> Steps[None]:
        if not self.policy.responsible_ai:
            return
        answer = yield from self._insist(Assess(status=self.status))
        if not isinstance(answer, Assessed):
            raise _Back(_trouble("Assess", answer))
        if not answer.file:
            raise _Back(Said("no assessment", {"model": self.candidate}), blamed=True)
        if answer.missing:
            values: Values = {
                "file": answer.file,
                "missing": ", ".join(answer.missing),
                "count": len(answer.missing),
            }
            raise _Back(Said("unanswered", values), blamed=True)
        self.why = Said("assessed", {"file": answer.file})

    # The deployment

    def _create(self, endpoint: EndpointState) -> Steps[None]:
        own, within = endpoint.deployment(self.canary), self.policy.deployment.within
        if not (self.about.restores and own is not None and own.state == "Succeeded"):
            self.status = "deploying"
            self.created = self.canary not in self.had
            answer = yield from self._insist(Create(status=self.status))
            if not isinstance(answer, Done):
                # What is there under our name in spite of a conflict is somebody else's.
                self.created = self.created and not (isinstance(answer, Refused) and answer.code == "conflict")
                raise _Back(_trouble("Create", answer))
            self.why = Said("creates", {"deployment": self.canary, "model": self.candidate})
            end = self._after(within)
            while True:
                yield from self._pause(self._after(FOLLOW))
                asked = self.now
                own = (yield from self._look()).deployment(self.canary)
                if own is not None and own.state == "Succeeded":
                    break
                if own is not None and own.state in _FAILED:
                    raise _Back(Said("not created", {"deployment": self.canary, "detail": own.error or own.state}))
                if asked >= end:
                    raise _Back(Said("creation too long", {"deployment": self.canary, "within": within}))
        self.stands = True
        self.why = Said("created", {"deployment": self.canary, "model": self.candidate})

    def _probe(self) -> Steps[None]:
        smoke = self.policy.smoke
        if smoke is None:
            return
        self.status = "checking"
        patience = self.policy.deployment.within if self.policy.kind == "batch" else None
        answer = yield from self._insist(Probe(status=self.status), patience)
        if not isinstance(answer, Probed):
            raise _Back(_trouble("Probe", answer))
        wrong = trouble(self.canary, smoke, answer)
        if wrong is not None:
            # What could not be asked of it is no fault of the candidate's.
            raise _Back(wrong, blamed=wrong.code != "load not brought")
        self.why, self.probed = passed(self.canary, smoke, answer), self.now

    def _stale(self) -> bool:
        """Whether the smoke test was long ago. The test job of a batch endpoint is one, and has its answer for good."""
        online = self.policy.kind != "batch"
        return online and self.probed is not None and self.now > self.probed + timedelta(seconds=STALE)

    # People

    def _ask(self, question: Said, until: datetime, of: str, readings: tuple[Reading, ...]) -> Steps[bool]:
        """Puts a question to a person; False when it could not be put."""
        answer = yield from self._insist(Ask(status="asking", question=question, until=until, of=of, readings=readings))
        self.question = self.asked
        return isinstance(answer, Done)

    def _reply(
        self,
        question: Said,
        within: float = DAY,
        of: str = "",
        readings: tuple[Reading, ...] = (),
        *,
        watch: bool = False,
        moot: Callable[[], bool] = lambda: False,
    ) -> Steps[Word | Literal["nobody", "unasked", "moot"]]:
        """What a person says to it. `watch`: the canary has traffic meanwhile, and is judged as ever; `moot`: whether the
        question has settled itself by that.
        """
        status, self.status = self.status, "asking"
        number = self.question = -1
        while True:
            if number < 0 or number != self.question:  # put anew when another question came in between
                until = self._after(within)
                if not (yield from self._ask(question, until, of, readings)):
                    return "unasked"
                number = self.question
            piece = min(until, self._after(max(WATCH, self.policy.every))) if watch else until
            word = yield from self._pause(piece, ask=number)
            if word is not None or piece >= until:  # the last thing it does is to listen
                break
            if watch:
                self.status = status
                yield from self._measure()
                if moot():
                    return "moot"
                self.status = "asking"
        self.status = status
        if not watch:
            self._skip_time()
        return word or "nobody"

    def _skip_time(self) -> None:
        """What happened while everybody waited for an answer does not count, neither for nor against."""
        if self.watch is not None:
            self.watch.since = max(self.watch.since, _ceiling(self.now))
            self.watch.known, self.watch.dark = self.now, None

    def _approved(self, approval: Approval, question: Said, readings: tuple[Reading, ...] = ()) -> Steps[None]:
        values: Values = {"of": approval.by, "within": approval.within}
        while True:
            reply = yield from self._reply(
                question, approval.within, approval.by, readings, watch=self.watch is not None
            )
            match reply:
                case Word(verb="approve"):
                    self.why = Said("approved", _by(reply))
                    return
                case Word():
                    raise _Back(Said("rejected", _by(reply)), readings, blamed=True)
                case "unasked":
                    raise _Back(Said("nobody could be asked", values), readings)
                case "nobody" if approval.otherwise == "promote":
                    self.why = Said("silence goes on", values)
                    return
                case _:
                    if approval.otherwise == "rollback":
                        raise _Back(Said("silence goes back", values), readings)

    def _go_on(
        self, question: Said, otherwise: _Back, *, watch: bool = False, moot: Callable[[], bool] = lambda: False
    ) -> Steps[None]:
        """A person says whether to go on; without an answer it goes back."""
        readings = otherwise.readings
        reply = yield from self._reply(question, readings=readings, watch=watch, moot=moot)
        match reply:
            case Word(verb="approve"):
                self.why = Said("approved", _by(reply))
            case Word():
                raise _Back(Said("rejected", _by(reply)), readings, blamed=True)
            case "moot":
                pass
            case _:
                raise otherwise

    # Movements

    def _clear(self) -> Steps[Said | None]:
        """Waits until traffic may move forward, with an ear for whoever wants to stop it, and an eye on the canary. Says
        whose override it took.
        """
        yield from self._pause(self.now)
        if self.watch is None:
            yield from self._look()
        if self.about.restores:
            return None
        status, why = self.status, self.why
        while True:
            hindrance, until = yield from self._hindrance()
            if hindrance is None or self._broken():
                self.status, self.why = status, why
                return hindrance and Said("overridden", hindrance.values | {"by": ", ".join(self.glass.values())})
            self.status, self.why = "frozen", hindrance
            yield from self._pause(min(until, self._after(PIECE)) if self.watch else until, early=self._broken)
            if not self._broken():
                yield from (self._measure() if self.watch else self._look())

    def _broken(self) -> bool:
        return len(self.glass) >= GLASS

    def _hindrance(self) -> Steps[tuple[Said | None, datetime]]:
        """What holds it now, and until when it need not be asked again."""
        if not open_at(self.policy, self.now):
            opening, shut = next_opening(self.policy, self.now), closed_at(self.policy, self.now)
            values: Values = {"until": _moment(opening) if opening else "-"}
            if shut is not None:
                values |= {"reason": shut.reason, "owner": shut.owner or "-"}
            return Said("closed" if shut else "outside window", values), opening or self._after(DAY)
        answer = yield from self._insist(Clear(status=self.status))
        match answer:
            case Frozen(reason=reason, owner=owner, until=until):
                values = {"until": _moment(until), "reason": reason, "owner": owner}
                # It may be lifted before its end, and end later than it said.
                return Said("frozen", values), max(min(until, self._after(PIECE)), self._after(FOLLOW))
            case Done():
                return None, self.now
            case _:
                raise _Back(_trouble("Clear", answer))

    def _move(self, move: type[Mirror | Shift | Promote], to: Traffic, percent: int, status: Status) -> Steps[None]:
        """Traffic forward, and until it is seen."""
        while True:
            self.why = (yield from self._clear()) or self.why
            if self._since(2) and not self.moved and self._stale():
                why, self.why = self.why, Said("probes again", {"deployment": self.canary, "seconds": STALE})
                yield from self._probe()
                self.why = (yield from self._clear()) or why  # that took its time
            self.status, self.percent, self.moved, self.seen = status, percent, True, False
            command = move(
                status=status,
                traffic=to[0],
                mirror=to[1],
                expected=self.left[0],
                expected_mirror=self.left[1],
                readings=self.judge.readings() if self.watch else (),
            )
            answer = yield from self._insist(command, forward=True)
            match answer:
                case Done():
                    break
                case Changed():  # or an old read once more
                    yield from self._settle(written=False)
                case _:
                    raise _Back(_trouble(type(command).__name__, answer))
        self.before, self.left = self.left, to
        self.glass.clear()  # an override is for the one movement that it was asked for
        yield from self._settle(written=True)

    def _settle(self, *, written: bool) -> Steps[None]:
        """Until the traffic is read as we left it. The read after a write may be old for a while; anything else was somebody."""
        patience = max(self.policy.patience, SETTLE) if written else SETTLE
        end = self._after(patience)
        while True:
            yield from self._pause(self._after(FOLLOW))
            asked = self.now  # an answer that took long tells of the time when it was asked for
            endpoint = yield from self._look()
            found = _traffic(endpoint)
            if found == self.left and endpoint.state not in _MOVING | _FAILED:
                self.seen = True
                return
            if endpoint.state in _FAILED:
                raise _Back(Said("endpoint failed", {"endpoint": endpoint.name, "state": endpoint.state}))
            late = asked >= end
            old = found in (self.left, self.before)
            if (late and not (old and written)) or (not old and endpoint.state not in _MOVING):
                yield from self._by_hand(found)
                return
            if late:
                values: Values = {"traffic": _text(self.left), "found": _text(found), "patience": patience}
                raise _Back(Said("not seen", values))

    def _by_hand(self, found: Traffic) -> Steps[None]:
        """Somebody changed the traffic: a person says whether it shall be as we left it."""
        values: Values = {"found": _text(found), "left": _text(self.left), "start": _text(self.start)}
        self.why = Said("changed by hand", values)
        reply = yield from self._reply(Said("put it back", values))
        match reply:
            case Word(verb="approve"):
                self.why = Said("approved", _by(reply))
            case Word():
                raise _Back(Said("rejected", _by(reply)))
            case _:
                raise _Stuck(Said("changed and no answer", values | {"within": DAY}))
        watch, self.watch = self.watch, None
        yield from (self._clear() if self._more(found) else self._pause(self.now))
        self.watch = watch
        move = Mirror if self.left[1].get(self.canary) else Shift
        traffic, mirror = self.left
        expected, expected_mirror = found
        self.moved, self.seen = True, False
        answer = yield from self._insist(
            move(status=self.status, traffic=traffic, mirror=mirror, expected=expected, expected_mirror=expected_mirror)
        )
        match answer:
            case Done():
                self.before = found
                yield from self._settle(written=True)
                self._skip_time()
            case Changed():
                yield from self._by_hand((_weights(answer.traffic), _weights(answer.mirror)))
            case _:
                raise _Back(_trouble(move.__name__, answer))

    def _more(self, found: Traffic) -> bool:
        """Whether the canary has less now than we left it."""
        return any(
            ours.get(self.canary, 0) > now.get(self.canary, 0) for ours, now in zip(self.left, found, strict=True)
        )

    # Stages

    def _stages(self) -> Steps[None]:
        if not self._skipped():
            for n, stage in enumerate(self.policy.stages, 1):
                yield from self._stage(n, stage)

    def _skipped(self) -> Said | None:
        """Why the stages of the policy are left out."""
        if not self.policy.stages:
            return None
        values: Values = {"endpoint": self.about.endpoint, "model": self.candidate}
        if self.about.restores:
            return Said("no stages to restore", values)
        if self.policy.kind == "batch":
            return Said("no stages in batch", values)
        return None if self.others else Said("no stages without traffic", values)

    def _stage(self, n: int, stage: Stage) -> Steps[None]:
        values: Values = {
            "n": n,
            "of": len(self.policy.stages),
            "percent": stage.percent,
            "seconds": stage.seconds,
            "deployment": self.canary,
        }
        self.why = Said("stage mirrors" if stage.mirror else "stage shifts", values)
        if stage.mirror:
            to = (shares(self.start[0], self.canary, 0), {self.canary: stage.percent})
            yield from self._move(Mirror, to, stage.percent, "mirroring")
        else:
            to = (shares(self.start[0], self.canary, stage.percent), self._mirror())
            yield from self._move(Shift, to, stage.percent, "baking")
        self.judge.begin_stage()
        forgiven = self.watch.forgiven if self.watch else frozenset()
        self.watch = _Watch(_ceiling(self.now), self.now, status=self.status, forgiven=forgiven)
        readings = yield from self._bake(stage, values)
        self.why = Said("stage passed", values | {"requests": self.watch.requests})
        yield from self._announce("RolloutAdvanced", readings)
        if stage.approve:
            yield from self._approved(
                stage.approve, Said("may it go on", values | {"silence": stage.approve.otherwise}), readings
            )

    def _mirror(self) -> Weights:
        """Copies that went to somebody else at the start go on."""
        return {name: weight for name, weight in self.start[1].items() if name != self.canary}

    def _bake(self, stage: Stage, values: Values) -> Steps[tuple[Reading, ...]]:
        """Until the stage has passed; the readings that say so."""
        watch = self.watch
        assert watch is not None
        due, end = stage.seconds, stage.seconds + self.policy.extend
        while True:
            yield from self._pause(self._after(max(self.policy.every, 1.0)), readings=self.judge.readings())
            if not (yield from self._measure()) or watch.counted < min(due, end):
                continue
            result, readings = self.judge.passes(stage.min_requests)
            if result == "pass":
                return readings
            if watch.counted < end:
                # Each look at the bound is one more chance for luck: few of them. A sample too small is no look.
                due = watch.counted + AGAIN if result == "undecided" else due
                continue
            sample: Values = {
                "requests": watch.requests,
                "min_requests": stage.min_requests,
                "extend": self.policy.extend,
            }
            why = Said("too few" if result == "too few" else "undecided", values | sample)
            back = _Back(why, readings, blamed=True)
            if self.policy.undecided == "rollback":
                raise back
            self.why = why
            yield from self._go_on(Said("go on undecided", why.values), back, watch=True)
            return readings

    def _measure(self) -> Steps[bool]:
        """A look at the counts, and what follows from it. Whether something new is known, and it counts for the stage."""
        watch = self.watch
        assert watch is not None
        answer = yield from self._do(
            Measure(status=self.status, since=watch.since, canary=self.canary, others=self.others)
        )
        known, unknown = 0, ""
        match answer:
            case Measured():
                unknown = answer.unknown
                if answer.endpoint is not None:
                    self._still_good(answer.endpoint, answer.tags)
                    if _traffic(answer.endpoint) != self.left:
                        yield from self._settle(written=False)
                known = self._count(watch, answer)
            case Busy(reason=reason) | Refused(reason=reason):
                unknown = reason
            case _:
                unknown = type(answer).__name__
        health = self.judge.health
        if health == "sick":
            yield from self._breach(watch)
            health = self._besides()  # a person said to go on with this breach, and it stays one
        if health == "both bad":
            yield from self._both_bad(watch)
        else:
            watch.bad = None
        fresh = known > 0 and health != "unknown"
        self._lit(watch, unknown, fresh=fresh)
        self.status = "held" if health == "both bad" or watch.dark else watch.status
        counts = fresh and health != "both bad"
        if counts:
            watch.counted += known * MINUTE
        return counts

    def _besides(self) -> Literal["healthy", "both bad", "unknown"]:
        """How it stands but for the breach."""
        if self.judge.blind:
            return "unknown"
        return "both bad" if any(one.state == "both bad" for one in self.judge.readings()) else "healthy"

    def _lit(self, watch: _Watch, unknown: str, *, fresh: bool) -> None:
        """Nobody knows how the canary does: that is borne with for a while. Then it goes back."""
        if fresh:
            watch.known, watch.dark = max(watch.known, watch.since), None
        elif self.now > watch.known + timedelta(seconds=LAG):
            watch.dark = watch.dark or self.now
        if watch.dark and self.now > watch.dark + timedelta(seconds=self.policy.patience):
            values: Values = {"patience": self.policy.patience, "detail": unknown or "-"}
            raise _Back(Said("blind", values), self.judge.readings(), blamed=None)

    def _count(self, watch: _Watch, answer: Measured) -> int:
        """Hands the new minutes to the judge; of how many it is known how both arms did."""
        if answer.unknown:
            return 0
        fresh = [pair for pair in answer.pairs if watch.since <= pair.at < answer.until]
        known = {pair.at: pair.canary for pair in fresh if pair.canary is not None and pair.baseline is not None}
        told = max(known, default=watch.since - timedelta(seconds=MINUTE)) + timedelta(seconds=MINUTE)
        watch.since = max(watch.since, told, answer.until - timedelta(seconds=LATE))
        self.judge.add([pair for pair in fresh if pair.at < watch.since])
        watch.requests += sum(minute.requests for minute in known.values())
        return len(known)

    def _breach(self, watch: _Watch) -> Steps[None]:
        readings = self.judge.readings()
        breached = [one for one in readings if one.state == "breach"]
        new = [one for one in breached if one.gate not in watch.forgiven]
        if breached and not new:
            return
        why = Said("breach", _figures(new))
        back = _Back(why, readings, blamed=True)
        if self.policy.on_breach == "rollback":
            raise back
        self.why = why
        yield from self._go_on(Said("go on sick", why.values), back)
        watch.forgiven |= {one.gate for one in new}

    def _both_bad(self, watch: _Watch) -> Steps[None]:
        """Not the canary's fault: the clock of the stage stands still."""
        watch.bad = watch.bad or self.now
        readings, patience = self.judge.readings(), self.policy.patience
        values: Values = {**_figures([one for one in readings if one.state == "both bad"]), "patience": patience}
        self.status, self.why = "held", Said("both bad", values)
        if self.now > watch.bad + timedelta(seconds=patience) and not watch.asked:
            watch.asked, back = True, _Back(Said("both bad too long", values), readings, blamed=None)
            over = lambda: self.judge.health == "healthy"  # noqa: E731 (a question to the judge, nothing more)
            yield from self._go_on(Said("go on both bad", values), back, watch=True, moot=over)
            watch.asked, watch.bad = False, self.now

    # The end that was hoped for

    def _promote(self) -> Steps[None]:
        self.why = self._skipped() or Said("promotes", {"deployment": self.canary, "model": self.candidate})
        yield from self._move(Promote, ({self.canary: 100}, self._mirror()), 100, "promoting")
        readings, self.watch = self.judge.readings() if self.watch else (), None
        labels = self.policy.labels
        self.why = Said(
            "promoted", {"model": self.candidate, "endpoint": self.about.endpoint, "champion": self.champion or "-"}
        )
        yield from self._tag(self.candidate, labels.promoted)
        # The one that a restoring rollout replaces was rejected by a person, and keeps that label.
        if self.champion not in {"", self.candidate} and not self.about.restores:
            self.replaced = True
            yield from self._tag(self.champion, labels.replaced)
        yield from self._announce("RolloutCompleted", readings)

    def _keep(self) -> Steps[None]:
        """The old deployments stay for a while, for an instant way back; then those that were live at the start go."""
        if not self.others:
            return
        self.phase = self.status = "keeping"
        until = self._after(self.policy.keep_old)
        values: Values = {"traffic": _text(self.start), "until": _moment(until)}
        promoted, self.why = self.why, Said("keeps", values)
        while self.now < until and not self.hurried:
            yield from self._pause(min(until, self._after(PIECE)), early=lambda: self.hurried)
            if not (yield from self._untouched()):
                return
        self.phase = "deaf"
        answer = yield from self._insist(Look(status=self.status))
        seen = answer.endpoint if isinstance(answer, Seen) else None
        if seen is None or _traffic(seen) != self.left:
            found = _text(_traffic(seen)) if seen else "?"
            self.why = Said("old ones stay", {"found": found, "left": _text(self.left)})
            return
        for name in self.others:
            yield from self._insist(
                Delete(status=self.status, deployment=name, why=Said("clears up", {"deployments": name}))
            )
        self.why = promoted

    def _untouched(self) -> Steps[bool]:
        """Whether the traffic still is as we left it, as far as can be told. Back where a person rejected the model."""
        end, again = self._after(self.policy.patience), False
        while True:
            asked = self.now
            answer = yield from self._do(Look(status=self.status))
            if not isinstance(answer, Seen):
                return True  # the next look will tell
            found = _traffic(answer.endpoint) if answer.endpoint else ({}, {})
            # Where it has no traffic any more somebody has seen to that already, in their own way.
            if self._rejected(answer.tags) and self.canary in found[0]:
                raise _Back(Said("rejected in registry", {"model": self.candidate}), rejected=True)
            if found == self.left:
                return True
            moving = answer.endpoint is not None and answer.endpoint.state in _MOVING
            if asked >= end or (again and not moving):
                self.why = Said("old ones stay", {"found": _text(found), "left": _text(self.left)})
                return False
            again = True
            yield from self._pause(self._after(FOLLOW))

    def _tag(self, model: str, labels: dict[str, str]) -> Steps[None]:
        """A label that can't be put is on record as a step that was refused; it changes nothing for the traffic."""
        name, _, version = model.rpartition(":")
        tags = {**labels, ROLLOUT_TAG: self.about.id}
        yield from self._insist(Tag(status=self.status, model=name, version=version, tags=tags))

    def _announce(
        self,
        kind: Literal["RolloutStarted", "RolloutAdvanced", "RolloutCompleted", "RolloutRolledBack", "RolloutStuck"],
        readings: tuple[Reading, ...] = (),
    ) -> Steps[None]:
        yield from self._insist(Announce(status=self.status, kind=kind, readings=readings))

    def _finish(self, verdict: Verdict) -> Steps[Verdict]:
        """The last command. Busy, it comes again: the endpoint must not stay ours."""
        self.status, self.phase = verdict, "deaf"
        yield from self._insist(Finish(status=verdict, verdict=verdict), INSIST * max(self.policy.patience, SETTLE))
        return verdict

    # The way back

    def backward(self, back: _Back) -> Steps[Verdict]:
        readings = back.readings or (self.judge.readings() if self.watch else ())
        self.phase, self.status, self.why, self.watch = "deaf", "rolling back", back.why, None
        if self.moved:
            trouble = yield from self._restore(readings)
            if trouble is not None:
                return (yield from self.stuck(trouble))
        self.percent = 0
        yield from self._remove()
        if back.blamed is not None and (self.moved or back.blamed) and not back.rejected:
            yield from self._tag(self.candidate, self.policy.labels.rolled_back)
        if self.replaced:
            yield from self._tag(self.champion, self.policy.labels.promoted)
        yield from self._announce("RolloutRolledBack", readings)
        return (yield from self._finish("rolled back"))

    def stuck(self, why: Said) -> Steps[Verdict]:
        self.phase, self.status, self.why = "deaf", "held", why
        yield from self._announce("RolloutStuck")
        return (yield from self._finish("stuck"))

    def _restore(self, readings: tuple[Reading, ...]) -> Steps[Said | None]:
        """The traffic as it was found at the start, whatever it is now; why it can't be had, or None."""
        patience = INSIST * max(self.policy.patience, SETTLE)
        end = self._after(patience)
        live, mirrored = self.start
        while True:
            left = max(0.0, (end - self.now).total_seconds())
            command = Restore(status=self.status, traffic=live, mirror=mirrored, readings=readings)
            answer = yield from self._insist(command, left)
            if not isinstance(answer, Done | Changed):
                if (yield from self._never_left()):
                    return None
                trouble = _trouble("Restore", answer)
                return Said("can not go back", {**trouble.values, "traffic": _text(self.start)})
            # To an old read everything is as it was, and what was written last has yet to be seen.
            hasty = isinstance(answer, Done) and answer.again and not self.seen
            if (yield from (self._never_left() if hasty else self._restored(end))):
                return None
            if self.now >= end:
                return Said("way back not seen", {"traffic": _text(self.start), "patience": patience})

    def _never_left(self) -> Steps[bool]:
        """Whether what was asked for before had no effect, which an old read alone does not tell."""
        if not (yield from self._restored(self.now)):
            return False
        yield from self._pause(self._after(SETTLE))
        return (yield from self._restored(self.now))

    def _restored(self, end: datetime) -> Steps[bool]:
        """Whether it is read as it was at the start; False when it has to be written once more."""
        end = min(end, self._after(max(self.policy.patience, SETTLE)))
        while True:
            yield from self._pause(self._after(FOLLOW))
            asked = self.now
            answer = yield from self._do(Look(status=self.status))
            endpoint = answer.endpoint if isinstance(answer, Seen) else None
            if endpoint is not None and endpoint.state not in _MOVING:
                found = _traffic(endpoint)
                if found == self.start and endpoint.state not in _FAILED:
                    return True
                if found not in (self.start, self.left, self.before):
                    return False
            if asked >= end:
                return False

    def _remove(self) -> Steps[None]:
        """The deployment that we made, unless somebody gave it traffic."""
        if not self.created:
            return
        answer = yield from self._insist(Look(status=self.status))
        endpoint = answer.endpoint if isinstance(answer, Seen) else None
        if endpoint is None or any(self.canary in arm for arm in _traffic(endpoint)):
            return
        own = endpoint.deployment(self.canary)
        # One that is still being made can't be deleted before that has ended.
        patience = self.policy.deployment.within if own is not None and own.state in _MOVING else None
        yield from self._insist(Delete(status=self.status, deployment=self.canary), patience)
