"""The record: the stored account of an event with its decisions, actions and results."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from shared.events import Drift, Event, Run

type EventStatus = Literal["deciding", "decided", "refused", "failed"]
"""`deciding` waits for a lookup; `failed` could not be decided and waits for a
replay; `refused` could not be read."""

type IntentStatus = Literal[
    "waiting", "running", "retrying", "done", "refused", "failed", "held", "suppressed", "collected"
]
"""`waiting`: for its first try, or for its time to come. `refused`: the far side said never; `failed`: every attempt is used
up; `held`: a guard said no, and a person was told; `suppressed`: it was not to be done now, which the digest counts and
nobody is told each time; `collected`: it goes out in the message of another. All but the first three are final until
somebody replays."""

FINAL: frozenset[IntentStatus] = frozenset({"done", "refused", "failed", "held", "suppressed", "collected"})


@dataclass(frozen=True)
class WorkspaceRef:
    """Where a workspace is."""

    subscription: str
    resource_group: str
    workspace: str

    @property
    def path(self) -> str:
        """Its ARM id."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace}"
        )


class Job(Struct, frozen=True, omit_defaults=True):
    """What a lookup told about a run: `duration` in seconds, times in RFC 3339, `error` the text of a failed run."""

    status: str | None = None
    name: str | None = None
    error: str | None = None
    error_code: str | None = None
    started: str | None = None
    ended: str | None = None
    duration: float | None = None
    compute: str | None = None
    studio_url: str | None = None
    is_child: bool | None = None
    parent: str | None = None


class Facts(Struct, frozen=True, omit_defaults=True):
    """What was looked up about an event. None: not asked. `unknown`: asked, and the far side could not say; by lookup
    name, the reason.
    """

    metrics: dict[str, float] | None = None
    job: Job | None = None
    unknown: dict[str, str] = field(default_factory=dict)
    drift: Drift | None = None
    """Of a monitor's run: what it found, and nothing at all where no threshold was breached."""


type Lookup = Literal["metrics", "job", "drift"]
LOOKUPS: Final[tuple[Lookup, ...]] = ("metrics", "job", "drift")


def combined(old: Facts | None, new: Facts) -> Facts:
    """All that two lookups told; the newer word where both speak, and "unknown" only for what neither could say."""
    if old is None:
        return new
    metrics = old.metrics if new.metrics is None else new.metrics
    job = old.job if new.job is None else new.job
    drift = old.drift if new.drift is None else new.drift
    known = {name for name, fact in (("metrics", metrics), ("job", job), ("drift", drift)) if fact is not None}
    unknown = {name: reason for name, reason in (old.unknown | new.unknown).items() if name not in known}
    return Facts(metrics, job, unknown, drift)


class Checked(Struct, frozen=True, omit_defaults=True):
    """One line of a rule held against an event. `actual` is None when the value is missing (`present` tells)."""

    path: str
    expected: str
    actual: object = None
    present: bool = False
    held: bool = False
    note: str = ""


type Kind = Literal["once_within", "once_after", "accumulate_within", "complete_within", "incomplete_after"]

PARTS: Final = 1000
"""Parts of one delivery that are counted."""


class Throttle(Struct, frozen=True, omit_defaults=True):
    """How often. `once_within`: the first of `seconds`; `once_after`: all of `seconds` together, when they are over;
    `accumulate_within`: all together, once there are `threshold` of them within `seconds`; `complete_within`: once for each
    delivery, when all its parts are there within `seconds`; `incomplete_after`: once, if they are not, when `seconds` are over.

    `key`: the rule and the values of `by`, which share one account; `shown`: the values in words. `parent`: nobody wrote
    it, and the children of this run come together, at the latest after `seconds`. Of a delivery: `part` names what came, ""
    being its marker; `threshold` says how many parts there shall be, as far as the rule or this one tells; `marker`: there has
    to be one.
    """

    kind: Kind
    seconds: float
    key: str
    shown: str = ""
    threshold: int = 0
    parent: str = ""
    part: str = ""
    marker: bool = False


class Worth(Struct, frozen=True, omit_defaults=True):
    """What makes a training worth it: all of what is not 0. `drop`: by how much the metric is worse than in training, as
    measured against the truth or estimated without it; `new_labels`: truths that came since the last training. `quality`: the
    file below quality/ that tells. `unknown`: what happens where nobody knows.
    """

    quality: str
    metric: str = ""
    drop: float = 0.0
    lower_is_better: bool = False
    by: Literal["measured", "estimated", "either"] = "measured"
    new_labels: int = 0
    unknown: Literal["hold", "go"] = "hold"


class Terms(Struct, frozen=True, omit_defaults=True):
    """On which terms an intent may run.

    `active`, `mute`: calendars in which it may, and may not. `after`: seconds behind the arrival of its event;
    `unless_acknowledged`: only if nobody has taken care by then; `leads`: such steps follow. `receiver`: who is told; `schedule`: on call, who gives the
    address. `pipeline`: whose guards hold. `keys`: what an absence rule knows the event by. `tell`: the receiver that hears how what is
    started has ended; `start_within`: seconds after which it is noticed that it has not begun, 0 for the usual time. `worth`: of a
    training, only where it is worth it.
    """

    throttle: Throttle | None = None
    active: tuple[str, ...] = ()
    mute: tuple[str, ...] = ()
    after: float = 0.0
    unless_acknowledged: bool = False
    leads: bool = False
    receiver: str = ""
    schedule: str = ""
    pipeline: str = ""
    keys: tuple[str, ...] = ()
    tell: str = ""
    start_within: float = 0.0
    worth: Worth | None = None


class Intent(Struct, frozen=True, omit_defaults=True):
    """One effect a rule asks for. `key` is the same for every delivery; `params` may hold templates, never secrets."""

    key: str
    event: str
    """The id of the event's record."""
    rule: str
    action: str
    params: dict[str, object]
    terms: Terms | None = None


class Verdict(Struct, frozen=True, omit_defaults=True):
    """One rule that matched (or waits for a lookup, was not reached because of a `stop`, or whose `when` went wrong)."""

    rule: str
    file: str
    outcome: Literal["matched", "undecided", "stopped", "error"]
    checked: tuple[Checked, ...] = ()
    intents: tuple[str, ...] = ()
    by: str = ""
    """For `stopped`: the rule that ended it."""


class Decision(Struct, frozen=True, omit_defaults=True):
    """What the rules say to do about one event. `considered`: how many rules were in force; `needs`: lookups that the
    undecided rules wait for.
    """

    config: str
    considered: int
    verdicts: tuple[Verdict, ...] = ()
    intents: tuple[Intent, ...] = ()
    needs: tuple[Lookup, ...] = ()
    keep: float = 0.0
    """Seconds for which the rules that matched want the record kept, the longest of them; 0 where none matched."""


class Attempt(Struct, frozen=True, omit_defaults=True):
    """One try. `uncertain`: the effect may have happened although this try did not see it."""

    at: datetime
    outcome: Literal["done", "later", "refused", "failed", "held", "waits", "suppressed", "collected"]
    note: str = ""
    uncertain: bool = False


class Result(Struct, frozen=True, omit_defaults=True):
    """What an action did, in words, with a link for people and values for rules and pages.

    `maybe_twice`: whether the effect may have happened twice, where the action knows better than the journal. `follow`: by
    which what was started is found again, in the words of the action that started it; None where nothing goes on.
    """

    said: str
    link: str | None = None
    values: dict[str, object] = field(default_factory=dict)
    maybe_twice: bool | None = None
    follow: dict[str, object] | None = None


type State = Literal["queued", "running", "succeeded", "failed", "canceled", "unknown"]
"""Of what was started. `queued`: accepted, and nothing has begun yet; `unknown`: nobody can tell any more how it went. The
last four are ends."""

ENDS: frozenset[State] = frozenset({"succeeded", "failed", "canceled", "unknown"})


class Progress(Struct, frozen=True, omit_defaults=True):
    """How what was started stands, in words, with a link for people and values for rules and pages. `follow`: a better way
    to find it, from now on. `ended`: when, where the far side tells. `quiet`: an end that is no news, such as of what could never be
    followed: only who asked for it hears of it.
    """

    state: State
    said: str
    link: str | None = None
    values: dict[str, object] = field(default_factory=dict)
    follow: dict[str, object] | None = None
    ended: datetime | None = None
    quiet: bool = False


FOLLOWED: Final = "followed"
FOLLOWED_JOBS: Final = "followed-jobs"
"""Folders of the shelf: what is followed, by the key of the intent that started it; and that key, by the name of a job."""


class Seen(Struct, frozen=True):
    """How something stood from then on."""

    at: datetime
    state: State
    said: str


class Followed(Struct, frozen=True, omit_defaults=True):
    """The account of what an intent started. `record`: of the event behind it, which `behind` is without its payload, and `because` in
    words. `about`: what was started, in a few words. `handle`: by what it is found; `cause`: the tags that it carries.

    `n`: of the next look, at `due`; `times`: how often it was begun anew by a replay. `progress`: as seen at `at`, and `trouble` where the
    far side could not be asked then; `lost`: since when it is not known there. `late`: when it was noticed that it does not begin.
    """

    key: str
    record: str
    rule: str
    action: str
    about: str
    began: datetime
    handle: dict[str, object]
    cause: dict[str, str]
    behind: Event
    because: str = ""
    because_ja: str = ""
    tell: str = ""
    start_within: float = 0.0
    n: int = 0
    due: datetime | None = None
    times: int = 0
    progress: Progress | None = None
    at: datetime | None = None
    history: tuple[Seen, ...] = ()
    trouble: str = ""
    lost: datetime | None = None
    late: datetime | None = None
    ended: datetime | None = None

    @property
    def took(self) -> float | None:
        """Seconds from its beginning to its end."""
        return None if self.ended is None else (self.ended - self.began).total_seconds()


class IntentRecord(Struct, frozen=True, omit_defaults=True):
    intent: Intent
    status: IntentStatus
    at: datetime
    attempts: tuple[Attempt, ...] = ()
    result: Result | None = None
    maybe_twice: bool = False
    """May have been sent twice: an earlier try ended without an answer, and the far side does not know our key."""


KEEP: Final = timedelta(days=30)
"""How long a record is kept where nobody says otherwise."""


class EventRecord(Struct, frozen=True, omit_defaults=True):
    """The account of one event. `event` is None and `bytes` holds what came for an event that was refused. `until`: when it may be
    forgotten, if everything about it has ended by then; None for a record of version 0.1.
    """

    id: str
    received: datetime
    status: EventStatus
    event: Event | None = None
    decision: Decision | None = None
    facts: Facts | None = None
    deliveries: int = 1
    refusal: str = ""
    bytes: str = ""
    replays: int = 0
    until: datetime | None = None

    @property
    def kept_until(self) -> datetime:
        return self.until or self.received + KEEP


class Deed(Struct, frozen=True, omit_defaults=True):
    """An intent, as lists show it."""

    key: str
    rule: str
    action: str
    status: IntentStatus
    maybe_twice: bool = False


class Listed(Struct, frozen=True, omit_defaults=True):
    """An event with its intents, as lists show it. `event`: without what only its own page shows."""

    id: str
    received: datetime
    status: EventStatus
    until: datetime
    event: Event | None = None
    matched: tuple[str, ...] = ()
    deeds: tuple[Deed, ...] = ()
    deliveries: int = 1
    refusal: str = ""
    replays: int = 0


_IN_LISTS: Final = ("about", "said", "reason", "action")
_LONGEST_IN_LISTS: Final = 500


def listed(record: EventRecord, intents: Sequence[IntentRecord]) -> Listed:
    """`intents`: in the order of the decision."""
    event = record.event
    if event is not None:
        data: dict[str, object] = {
            name: said[:_LONGEST_IN_LISTS] for name in _IN_LISTS if isinstance(said := event.data.get(name), str)
        }
        drift = replace(event.drift, features=(), crossed=()) if event.drift else None
        event = replace(event, data=data, tags={}, properties={}, drift=drift)
    return Listed(
        record.id,
        record.received,
        record.status,
        record.kept_until,
        event,
        matched(record),
        tuple(
            [Deed(one.intent.key, one.intent.rule, one.intent.action, one.status, one.maybe_twice) for one in intents]
        ),
        record.deliveries,
        record.refusal[:_LONGEST_IN_LISTS],
        record.replays,
    )


def matched(record: EventRecord) -> tuple[str, ...]:
    """The rules that matched."""
    verdicts = record.decision.verdicts if record.decision else ()
    return tuple([verdict.rule for verdict in verdicts if verdict.outcome == "matched"])


class Comment(Struct, frozen=True):
    at: datetime
    by: str
    text: str


class Resolution(Struct, frozen=True):
    """Which event ends the trouble: one that this `match` block fits, and that happened after `since`."""

    match: dict[str, object]
    since: datetime


class Silence(Struct, frozen=True, omit_defaults=True):
    """Until then, nobody is told of what fits `matchers`: a `match` block, which may also ask for `rule` and `receiver`.

    `expired`: when somebody, `expired_by`, ended it before its time. `record`: of the event that a person muted with it, and
    `resolves` what ends that trouble. `warned`, `reminded`: what its owner was told, and how often.
    """

    id: str
    matchers: dict[str, object]
    owner: str
    reason: str
    began: datetime
    until: datetime
    comments: tuple[Comment, ...] = ()
    expired: datetime | None = None
    expired_by: str = ""
    record: str = ""
    resolves: Resolution | None = None
    warned: bool = False
    reminded: int = 0

    def in_force(self, now: datetime) -> bool:
        return self.expired is None and self.began <= now < self.until


class Ack(Struct, frozen=True, omit_defaults=True):
    """Somebody saw the event and sees to it. `via`: by which way they said so."""

    by: str
    at: datetime
    reason: str = ""
    via: str = ""


SILENCES: Final = "silences"
ACKS: Final = "acks"
"""Folders of the shelf: silences by id, acknowledgements by the id of the event's record."""


DEAD_LETTERS: Final = "dead-letters"
"""Folder of the shelf: why Event Grid had given up an event, by the id of its record."""


QUALITY: Final = "quality"
"""Folder of the shelf: how each model stands by its predictions and what came of them, by the name of its file below quality/."""


class Estimate(Struct, frozen=True, omit_defaults=True):
    """A metric over `n` predictions between `start` and `end`, with the bounds of its confidence interval."""

    value: float
    low: float
    high: float
    n: int
    start: datetime
    end: datetime


class Standing(Struct, frozen=True, omit_defaults=True):
    """How a model stands, at the newest look. By metric: `measured` against the truth that came; `estimated` without it;
    `reference`: what the training run logged. `labels`: how many truths came for predictions, by the day (UTC) they came.
    """

    at: datetime
    model: str
    version: str = ""
    measured: dict[str, Estimate] = field(default_factory=dict)
    estimated: dict[str, Estimate] = field(default_factory=dict)
    reference: dict[str, float] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)


def held_by(silence: str) -> str:
    """The folder of the shelf that names the intents which this silence held back."""
    return f"silence-{silence}-held"


def run_of(event: Event, facts: Facts) -> Run | None:
    """The event's run, with what lookups added about its family, and whether a breach is why it ended so."""
    run, job = event.run, facts.job
    if run is not None and run.breached is None and (facts.drift is not None or "drift" in facts.unknown):
        run = replace(run, breached=facts.drift is not None and facts.drift != Drift())
    if run is None or job is None or run.is_child is not None:
        return run
    return replace(run, is_child=job.is_child, parent=job.parent)


def drift_of(event: Event, facts: Facts) -> Drift | None:
    """What is known of the drift that an event tells of: the event's own word, and where it says nothing, the lookup's."""
    said, found = event.drift, facts.drift
    if said is None or found is None:
        return said
    values = {name: getattr(said, name) or getattr(found, name) for name in Drift.__struct_fields__}
    if said.coefficient is not None:
        values["coefficient"] = said.coefficient
    return Drift(**values)


def view(event: Event, facts: Facts) -> dict[str, object]:
    """The event as rules, templates and people see it: nested plain values, what was looked up included.

    A value that is missing is absent from the tables, never null.
    """
    seen: dict[str, object] = to_builtins(event)
    run = run_of(event, facts)
    if run is not None:
        seen["run"] = to_builtins(run)
    drift = drift_of(event, facts)
    if drift is not None:
        seen["drift"] = to_builtins(drift)
    if facts.metrics is not None:
        seen["metrics"] = dict(facts.metrics)
    if facts.job is not None:
        seen["job"] = to_builtins(facts.job)
    return seen
