"""Whether a training is worth it: how the model stands by its predictions, and how much truth has come since the last one.

Pure numbers make the answer, and the answer has them in it, whether it is yes or no. That nobody knows is an answer of its own.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from shared.guards.ask import Get, Go, Guarding, Suppressed
from shared.guards.retraining import LEDGERS
from shared.guards.retraining import read as ledger_of
from shared.guards.throttle import name_of
from shared.record import QUALITY, Estimate, Standing, Worth

_OLD: Final = timedelta(days=30)
"""A look from before says nothing of the model today."""

type _Answer = tuple[bool | None, str]
"""Whether one thing that is asked for is the case, None where nobody knows; and the numbers."""

_standing: Final = msgspec.json.Decoder(Standing)


def worth(asked: Worth, pipeline: str, key: str, now: datetime) -> Guarding[Go | Suppressed]:
    """Go or not, with the reason in either case. `key`: of this start, which is not the last training."""
    text = yield Get(QUALITY, asked.quality)
    standing = None if text is None else _standing.decode(text)
    ledger = ledger_of((yield Get(LEDGERS, name_of(pipeline))))
    last = max((one.at for one in ledger.starts if one.key != key), default=None)
    if standing is None:
        answers: list[_Answer] = [(None, f"no look at quality/{asked.quality}.yaml is on record")]
    elif now - standing.at > _OLD:
        answers = [(None, f"the newest look at quality/{asked.quality}.yaml is of {_day(standing.at)}, too long ago")]
    else:
        answers = [_dropped(asked, standing)] if asked.drop else []
        answers += [_new(asked, standing, pipeline, last)] if asked.new_labels else []
    no = [said for held, said in answers if held is False]
    unknown = [said for held, said in answers if held is None]
    told = "; ".join(said for _, said in answers)
    if no:
        return Suppressed("worth", f"not worth a training: {'; '.join(no)}")
    if unknown and asked.unknown == "hold":
        return Suppressed("worth", f"nobody knows whether it is worth a training, and then it is held back: {told}")
    if unknown:
        return Go(note=f"nobody knows whether it is worth it, and then it goes: {told}")
    return Go(note=f"worth it: {told}")


def _dropped(asked: Worth, standing: Standing) -> _Answer:
    """By the better evidence where there are two: one drop that is seen is enough."""
    ways = {"measured": standing.measured, "estimated": standing.estimated}
    looked = [name for name in ways if asked.by in {name, "either"}]
    answers = [_one(asked, name, ways[name].get(asked.metric), standing.reference.get(asked.metric)) for name in looked]
    for wanted in (True, False):
        found = next((answer for answer in answers if answer[0] is wanted), None)
        if found is not None:
            return found
    return None, ", ".join(dict.fromkeys(said for _, said in answers))


def _one(asked: Worth, way: str, found: Estimate | None, reference: float | None) -> _Answer:
    metric = asked.metric
    if found is None:
        return None, f"{metric} is not {way}"
    if reference is None:
        return None, f"the training run logged no {metric} to compare with"
    drop = found.value - reference if asked.lower_is_better else reference - found.value
    best = found.low if asked.lower_is_better else found.high
    surely = best > reference if asked.lower_is_better else best < reference
    seen = (
        f"{metric} is {way} at {found.value:.4g} ({found.low:.4g} to {found.high:.4g}, n = {found.n:,}, "
        f"{_day(found.start)} to {_day(found.end)}), and was {reference:.4g} in training"
    )
    drop = round(drop, 12)
    if drop < asked.drop:
        how = "no worse" if drop <= 0 else f"worse by {drop:.3g}"
        return False, f"{seen}: {how}, and {asked.drop:g} is asked for"
    # Intervals are as wide as alarms need them that last for a month; whether to learn anew is a milder question.
    chance = "" if surely else ", which may be chance"
    return True, f"{seen}: worse by {drop:.3g}{chance}, and {asked.drop:g} is asked for"


def _new(asked: Worth, standing: Standing, pipeline: str, last: datetime | None) -> _Answer:
    """Labels have a day and no hour: those of the day of the training are taken for known to it."""
    counted = sum(n for day, n in standing.labels.items() if last is None or day > f"{last:%Y-%m-%d}")
    since = f"since {pipeline!r} was started on {_day(last)}" if last else f"(no start of {pipeline!r} is on record)"
    enough = counted >= asked.new_labels
    word = "" if enough else "only "
    return enough, f"{word}{counted:,} new labels {since}, and {asked.new_labels:,} are asked for"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
