"""A chain of causes as the console draws it and the API tells it: what happened, what was started for it, what came of that."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared.chain import Chain, Link
from shared.events import OWN, Event
from shared.guards.loop import STARTS
from shared.record import IntentRecord
from shared.web.about import about

_QUIET: Final = frozenset({"done", "suppressed", "collected"})
_INNER: Final = frozenset({"expect", "arrived"})
"""What absence rules are made of: they count once they led to something."""

_TELLS: Final = frozenset({"teams", "email", "sms"})


@dataclass(frozen=True)
class Deed:
    """An intent that started something, that led on, or that did not go well; with what came of it."""

    record: IntentRecord
    after: "Sequence[Knot]"


@dataclass(frozen=True)
class Knot:
    """One thing that happened. `states`: of a run or a rollout, what was told of it one after the other. `here`: the page shows
    it. `told`: how many messages went out about it. `after`: what came of it that no deed explains.
    """

    type: str
    about: str
    at: datetime
    href: str
    records: Sequence[str]
    here: bool
    states: Sequence[str]
    deeds: Sequence[Deed]
    told: int
    after: "Sequence[Knot]"


@dataclass(frozen=True)
class Drawn:
    """`more`: there are events that are not shown."""

    root: Knot
    more: bool


def drawn(chain: Chain, here: str) -> Drawn:
    """From its first event on. `here`: the record, or the rollout, that the page is about."""
    return Drawn(_knot(chain.root, here), chain.more)


def _knot(link: Link, here: str) -> Knot:
    newest = link.newest
    event = newest.event
    assert event is not None
    rollout = _rollout(event)
    ids = [record.id for record in link.records]
    shown = [one for one in link.intents if _matters(one, link)]
    return Knot(
        type=event.type,
        about=about(event),
        at=link.events[0].time,
        href=f"/rollouts/{rollout}" if rollout else f"/events/{newest.id}",
        records=ids,
        here=here in {*ids, rollout},
        states=_states(link.events),
        deeds=[Deed(one, [_knot(each, here) for each in link.after.get(one.intent.key, ())]) for one in shown],
        told=sum(one.status == "done" and one.intent.action in _TELLS for one in link.intents),
        after=[_knot(each, here) for each in link.after.get("", ())],
    )


def _matters(one: IntentRecord, link: Link) -> bool:
    went_wrong = one.status not in _QUIET and one.intent.action not in _INNER
    return one.intent.action in STARTS or one.intent.key in link.after or went_wrong


def _rollout(event: Event) -> str:
    own = event.raw_type.startswith(f"{OWN}Rollout")
    return str(event.data.get("rollout") or "") if own else ""


def _states(events: Sequence[Event]) -> list[str]:
    if _rollout(events[-1]):
        return list(dict.fromkeys(event.type.removeprefix("Rollout") for event in events))
    found = [event.run.status for event in events if event.run and event.run.status and event.type.startswith("Run")]
    return list(dict.fromkeys(found))


def told(chain: Chain) -> dict[str, object]:
    """The same for the API."""
    return {"events": chain.size, "more": chain.more, "chain": _plain(_knot(chain.root, ""))}


def _plain(knot: Knot) -> dict[str, object]:
    return {
        "type": knot.type,
        "about": knot.about,
        "at": knot.at,
        "href": knot.href,
        "records": knot.records,
        "states": knot.states,
        "messages": knot.told,
        "actions": [
            {
                "key": deed.record.intent.key,
                "rule": deed.record.intent.rule,
                "action": deed.record.intent.action,
                "status": deed.record.status,
                "said": deed.record.result.said if deed.record.result else "",
                "after": [_plain(each) for each in deed.after],
            }
            for deed in knot.deeds
        ],
        "after": [_plain(each) for each in knot.after],
    }
