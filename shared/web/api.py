"""The JSON API. Every error is problem+json (RFC 9457), every time RFC 3339 in UTC.

An event in a list (`GET /api/events` answers `{"events": […], "next": path or null}`):

    id          of the record; `GET /api/events/{id}` takes it, or the event's own id
    received    when it was taken in
    status      waiting | deciding | decided | refused | failed
    deliveries  how often it was delivered; it was taken in once
    replays     how often somebody replayed it
    refusal     why it could not be read or decided; "" otherwise
    until       how long its record is kept, at least
    event       {id, type, time, subject, source, workspace}; null when it could not be read
    matched     names of the rules that matched
    actions     [{key, rule, action, status, maybe_twice}]

One event (`GET /api/events/{id}`) has besides:

    event       as rules and templates see it, with `metrics` and `job` where they were looked up
    bytes       what came, in base64, for an event that could not be read; "" otherwise
    facts       {metrics, job, unknown}: what lookups said; null when nothing was asked
    decision    {config, considered, needs, verdicts: [{rule, file, outcome, by, intents: [keys],
                checked: [{path, expected, actual, present, held, note}]}]}; null before it is made
    actions     [{key, rule, action, params, status, at, maybe_twice, result: {said, link, values} or null,
                attempts: [{at, outcome, note, uncertain}], followed}], in the order of the decision; `params` name secrets as ${NAME}

What an action started and how it stands (`followed`; null where nothing goes on, or it is long over): {about, state: queued | running |
succeeded | failed | canceled | unknown, said, link, values, began, at: of the newest look, due: of the next one, ended, took: seconds,
late: when it was noticed that it does not begin, trouble: why the far side could not be asked, tell: the receiver that asked for its
end, history: [{at, state, said}]}.

The chain of causes that an event is part of (`GET /api/events/{id}/chain` answers {events: how many it shows, more: there are others,
chain: from its first event on, null where the event stands alone}): {type, about, at, href, records: of all events that are told
together, states: of a run or a rollout, messages: how many went out, actions: [{key, rule, action, status, said, after: […]}],
after: what came of it that none of the actions explains}; `after` are of the same shape.

A rollout in a list (`GET /api/rollouts` answers `{"rollouts": […], "next": path or null}`):

    id, policy, endpoint, workspace, model, version
    began, ended  ended is null while it runs
    status      waiting | checking | deploying | mirroring | baking | asking | frozen | held | promoting | keeping |
                rolling back | promoted | rolled back | stuck
    percent     of the traffic, to the new deployment
    why         in words
    question    {n, question, of, until}: what a person is asked now; null when nothing is
    restores    the id of the rollout whose model it takes back; "" otherwise
    replaced    name:version of the model that served before; "" when none did or nobody knows yet

One rollout (`GET /api/rollouts/{id}`) has besides:

    verdict     promoted | rolled back | stuck; null before its end
    deployment, resource_group, subscription, tags
    script      the version of the script that it began with, and goes by to its end (docs/upgrades.md)
    policy_in_full  the policy that it runs by, whatever became of the file meanwhile
    lineage     {config, rule, event: {record, id, type, time, subject, source, link: null once its record is past its age} or null, origin: {run, experiment, inputs,
                commit, branch, created, created_by, studio_url, tags} or null, approved_by: [names]}
    passed      the checks behind it, in words, with what was measured
    scorecard   by cohort, one for each comparison that asks for it: [{kind: "cohorts", metric, rows: [[cohort, candidate, champion
                or null]], at_least, higher_is_better}]
    readings    the newest: [{gate, state, said, canary_bad, canary_total, baseline_bad, baseline_total, e, threshold,
                limit, estimate, upper}]; `said` has measured value, threshold and sample size in words
    people      [{verb, by, at, reason, ask, via}], oldest first
    steps       [{n, asked, answered, status, percent, routine, said, why, readings, command: {type, …},
                answer: {type, said, …}}]; `routine`: it waited, looked or measured, and there is nothing to tell of

The configuration (`GET /api/config`; `GET /api/health` says it in short, and there `version` is that of the software):

    version     names the texts that are in force; decisions and rollouts name it as `config`
    rules       how many are in force
    files       names of what is in force without a mistake
    rejected_files  those with a mistake; of these and of what others need, the last good version of `kept_files` is in force
    problems    [{file, line, column, message}]
    former      what is in the spelling of the last minor version, as `problems`; in `GET /api/health` how many
    history     the newest: [{version, at, rules, changed, removed, rejected_files, kept_files}]; `changed`, `removed`: files

The archive (`GET /api/archive?since=&until=`, RFC 3339 times; the last day, up to now) is JSON lines, one event each: {id: of the
record, received, event, facts, deliveries, config: the version that decided it}. What has its default is left out.

One version (`GET /api/config/{version}`) has besides `texts`, by file, as they were in force.

A silence: {id, matchers, asks: the matchers in words, owner, reason, began, until, expired, expired_by, comments: [{at, by,
text}], record: of the event that was muted with it or "", resolves: {match, since} or null, held_back: how many messages}.
`GET /api/silences?all=1` tells those that are over too; `POST /api/silences/preview` with {matchers} answers {hours,
notifications, held_back, complete, examples: [{record, type, rule, receiver}]} and changes nothing.

One event has besides: acknowledged {by, at, reason, via} or null; dead_letter, why Event Grid had given it up before it was brought
back, or null: {reason, attempts, outcome and status (HTTP) of the last one, published, tried, subscription, back: when}.

A freeze: {id, endpoint, reason, owner, began, until, lifted, lifted_by}; `endpoint` is * for all of them. `GET /api/freezes?all=1`
tells those that are over too, `DELETE /api/freezes/{id}?by=NAME` says who lifts it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from shared import VERSION, book, versions
from shared.events import DeadLetter
from shared.record import Ack, EventRecord, Facts, Followed, IntentRecord, Listed, Silence, matched, view
from shared.rollout import words as rollout_words
from shared.rollout.record import Freeze, Head, Reading, Rollout, Step
from shared.web.asked import Wrong
from shared.web.story import Story, deed, is_routine, outcome
from shared.web.words import Words
from shared.world import Search, Shelf, Store

if TYPE_CHECKING:
    from shared.rules.load import Loaded

_json: Final = msgspec.json.Encoder()
_NOBODY: Final[Mapping[str, Followed]] = {}


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_json.encode(value), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def problem(
    status: int, detail: str, wrong: Sequence[Wrong] = (), headers: Mapping[str, str] | None = None
) -> Response:
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if wrong:
        body["errors"] = [{"parameter": one.parameter, "detail": one.detail} for one in wrong]
    return Response(_json.encode(body), status, headers, "application/problem+json")


def health(loaded: "Loaded") -> tuple[str, dict[str, object]]:
    """`red` when nothing can be decided; `amber` when a file was refused for its mistakes."""
    written = any(not rule.name.startswith("(") for rule in loaded.rules.rules)  # the implicit one is in brackets
    status = "red" if loaded.problems and not written else "amber" if loaded.rejected_files else "ok"
    return status, {
        "status": status,
        "version": VERSION,
        "config_version": loaded.version,
        "rules": len(loaded.rules),
        "rejected_files": loaded.rejected_files,
        "kept_files": loaded.kept,
        "former": len(loaded.former),
    }


async def config(loaded: "Loaded", shelf: Shelf) -> dict[str, object]:
    return {
        "version": loaded.version,
        "rules": len(loaded.rules),
        "files": sorted(loaded.good),
        "rejected_files": loaded.rejected_files,
        "kept_files": loaded.kept,
        "problems": [asdict(problem) for problem in loaded.problems],
        "former": [asdict(one) for one in loaded.former],
        "history": [_version(one) for one in await versions.history(shelf)],
    }


async def config_version(shelf: Shelf, version: str) -> dict[str, object] | None:
    """The newest of this name, with its texts."""
    found = next((one for one in await versions.history(shelf) if one.version == version), None)
    return None if found is None else _version(found) | {"texts": await versions.texts(shelf, found)}


def _version(one: versions.Version) -> dict[str, object]:
    return {
        "version": one.version,
        "at": one.at,
        "rules": one.rules,
        "changed": one.changed,
        "removed": one.removed,
        "rejected_files": one.rejected,
        "kept_files": one.kept,
    }


@dataclass(frozen=True)
class Page:
    """Events with their intents, newest first."""

    search: Search
    events: Sequence[Listed]
    more: bool

    def following(self, path: str) -> str | None:
        """The address of the next page, of older events, where there is one."""
        if not self.more:
            return None
        search, last = self.search, self.events[-1]
        parts = {
            "limit": None if search.limit == Search().limit else str(search.limit),
            "type": search.type,
            "status": search.status,
            "since": search.since and rfc3339(search.since),
            "before": f"{rfc3339(last.received)}~{last.id}",
        }
        return f"{path}?{urlencode({name: part for name, part in parts.items() if part})}"


async def page(store: Store, search: Search) -> Page:
    found = await store.listed(replace(search, limit=search.limit + 1))  # one more tells of a next page
    return Page(search, found[: search.limit], more=len(found) > search.limit)


def brief(one: Listed) -> dict[str, object]:
    """One event in a list."""
    event = one.event
    return {
        **_common(one, one.until),
        "event": event
        and {
            "id": event.id,
            "type": event.type,
            "time": event.time,
            "subject": event.subject,
            "source": event.source,
            "workspace": event.workspace,
        },
        "matched": one.matched,
        "actions": [_plain(deed) for deed in one.deeds],
    }


def full(
    record: EventRecord,
    intents: Sequence[IntentRecord],
    ack: Ack | None = None,
    followed: Mapping[str, Followed] = _NOBODY,
    dead: DeadLetter | None = None,
) -> dict[str, object]:
    """One event with everything that is known about it. `followed`: what goes on, by the key of its intent."""
    decision, facts = record.decision, record.facts
    return {
        **_common(record, record.kept_until),
        "bytes": record.bytes,
        "acknowledged": ack and _plain(ack),
        "dead_letter": dead and _plain(dead),
        "event": record.event and view(record.event, facts or Facts()),
        "facts": facts and {"metrics": facts.metrics, "job": facts.job, "drift": facts.drift, "unknown": facts.unknown},
        "decision": decision
        and {
            "config": decision.config,
            "considered": decision.considered,
            "needs": decision.needs,
            "verdicts": [
                _plain(verdict) | {"checked": [_plain(c) for c in verdict.checked]} for verdict in decision.verdicts
            ],
        },
        "matched": matched(record),
        "actions": [
            {
                "key": one.intent.key,
                "rule": one.intent.rule,
                "action": one.intent.action,
                "params": one.intent.params,
                "status": one.status,
                "at": one.at,
                "maybe_twice": one.maybe_twice,
                "result": one.result and _plain(one.result),
                "attempts": [_plain(attempt) for attempt in one.attempts],
                "followed": _followed(followed.get(one.intent.key)),
            }
            for one in intents
        ],
    }


def _followed(account: Followed | None) -> dict[str, object] | None:
    if account is None or account.progress is None:
        return None
    progress = account.progress
    return {
        "about": account.about,
        "state": progress.state,
        "said": progress.said,
        "link": progress.link,
        "values": progress.values,
        "began": account.began,
        "at": account.at,
        "due": account.due,
        "ended": account.ended,
        "took": account.took,
        "late": account.late,
        "trouble": account.trouble,
        "tell": account.tell,
        "history": [_plain(one) for one in account.history],
    }


# Rollouts

_ENGLISH: Final = Words("en")


async def rollouts(shelf: Shelf, limit: int, after: str, path: str) -> tuple[list[Head], str | None]:
    """Newest first, and the address of the next page, of older ones, where there is one."""
    rows = await book.heads(shelf, after=after, limit=limit + 1)
    shown = rows[:limit]
    following = f"{path}?{urlencode({'limit': limit, 'after': shown[-1][0]})}" if len(rows) > limit else None
    return [head for _, head in shown], following


def short(head: Head) -> dict[str, object]:
    """One rollout in a list."""
    asked = head.question
    return _plain(head) | {
        "why": head.why and rollout_words.tell(head.why, "en"),
        "question": asked and _plain(asked) | {"question": rollout_words.tell(asked.question, "en")},
    }


def told(story: Story) -> dict[str, object]:
    """One rollout, with everything that led to its deployment."""
    about = story.about
    return short(story.head) | {
        "verdict": story.head.status if story.ended else None,
        "deployment": about.deployment,
        "script": about.script,
        "resource_group": about.where.resource_group,
        "subscription": about.where.subscription,
        "tags": about.tags,
        "policy_in_full": whole(about.policy),
        "lineage": _lineage(about, story),
        "passed": [rollout_words.tell(one, "en") for one in story.passed],
        "scorecard": story.scorecard["chart"],
        "readings": [_reading(one) for one in story.readings],
        "people": [_plain(word) for word in story.people],
        "steps": [_step(step, about) for step in story.steps],
    }


def _lineage(about: Rollout, story: Story) -> dict[str, object]:
    began = about.trigger
    return {
        "config": about.config,
        "rule": about.rule,
        "event": began
        and {
            "record": about.event,
            "id": began.id,
            "type": began.type,
            "time": began.time,
            "subject": began.subject,
            "source": began.source,
            "link": f"/events/{about.event}" if story.event else None,
        },
        "origin": story.origin and whole(story.origin),
        "approved_by": [word.by for word in story.approvals],
    }


def _step(step: Step, about: Rollout) -> dict[str, object]:
    command, answer = step.command, step.answer
    own = {"status", "percent", "why", "readings"}
    return {
        "n": step.n,
        "asked": step.asked,
        "answered": answer.at,
        "status": command.status,
        "percent": command.percent,
        "routine": is_routine(step),
        "said": deed(command, _ENGLISH),
        "why": command.why and rollout_words.tell(command.why, "en"),
        "readings": [_reading(one) for one in command.readings],
        "command": {name: value for name, value in whole(command).items() if name not in own},
        "answer": whole(answer) | {"said": outcome(answer, about, _ENGLISH)},
    }


def _reading(reading: Reading) -> dict[str, object]:
    return _plain(reading) | {"said": rollout_words.reading(reading, "en")}


def freeze(one: Freeze) -> dict[str, object]:
    return _plain(one)


def silence(one: Silence, held_back: int) -> dict[str, object]:
    from shared.rules.silences import in_words

    return _plain(one) | {"asks": in_words(one.matchers), "held_back": held_back}


def whole(value: object) -> Any:
    """A value as JSON knows it, with defaults written out at every depth, and the kind of what has several kinds."""
    match value:
        case msgspec.Struct():
            tag = value.__struct_config__.tag
            return ({"type": tag} if tag else {}) | {
                name: whole(getattr(value, name)) for name in value.__struct_fields__
            }
        case Mapping():
            return {name: whole(inner) for name, inner in value.items()}
        case list() | tuple():
            return [whole(inner) for inner in value]
        case _:
            return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _common(record: EventRecord | Listed, until: datetime) -> dict[str, object]:
    return {
        "id": record.id,
        "received": record.received,
        "status": record.status,
        "deliveries": record.deliveries,
        "replays": record.replays,
        "refusal": record.refusal,
        "until": until,
    }


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    """With defaults written out: readers of JSON need not know them."""
    return {name: getattr(value, name) for name in value.__struct_fields__}


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
