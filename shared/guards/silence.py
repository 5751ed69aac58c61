"""Silences hold back what people would be told."""

from datetime import datetime

import msgspec

from shared.events import Event
from shared.guards.ask import Entries, Found, Guarding, Keep, Suppressed
from shared.record import SILENCES, Facts, Intent, Silence, held_by
from shared.rules.silences import is_notification, silencing


def silenced(intent: Intent, event: Event, facts: Facts, now: datetime) -> Guarding[Suppressed | None]:
    """Held back by the silence that ends last of those that fit, which keeps count of it."""
    if not is_notification(intent):
        return None
    found: Found = yield Entries(SILENCES)
    silences = [msgspec.json.decode(text, type=Silence) for _, text in found]
    one = silencing(silences, intent, event, facts, now)
    if one is None:
        return None
    yield Keep(held_by(one.id), intent.key, now.isoformat())
    note = f"until {one.until:%Y-%m-%d %H:%M} UTC by {one.owner}: {one.reason} (silence {one.id})"
    return Suppressed("silence", note)
