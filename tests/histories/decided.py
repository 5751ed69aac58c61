"""What a configuration decides about the sample events."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from shared import wire
from shared.errors import PermanentError
from shared.events import parse
from shared.record import Facts, Job
from shared.rules.load import load_texts
from shared.rules.plan import plan
from tests.histories import FOLDER
from tests.world import START

SAMPLES: Final = FOLDER.parents[1] / "samples" / "events"
LOOKED_UP: Final = Facts(metrics={"auc": 0.95}, job=Job("Failed", error="out of memory", is_child=False))


def samples() -> dict[str, Any]:
    """Envelopes by the name of their file; what is no event is left out."""
    found: dict[str, Any] = {}
    for path in sorted(SAMPLES.glob("*.json")):
        content = json.loads(path.read_text())
        for n, envelope in enumerate(content if isinstance(content, list) else [content]):
            with suppress(PermanentError):
                parse(envelope, START)
                found[f"{path.stem}-{n}"] = envelope
    return found


def decided_by(texts: Mapping[str, str], envelopes: Mapping[str, Any]) -> dict[str, Any]:
    """By sample, without and with lookups: which rules match or wait, and every intent."""
    loaded = load_texts(texts)
    assert not loaded.problems, loaded.problems
    found: dict[str, Any] = {}
    for name, envelope in envelopes.items():
        for how, facts in (("as it came", Facts()), ("looked up", LOOKED_UP)):
            made = plan(loaded.rules, parse(envelope, START), facts)
            found[f"{name}, {how}"] = {
                "verdicts": [[one.rule, one.outcome] for one in made.verdicts],
                "intents": [json.loads(wire.dump(one)) for one in made.intents],
            }
    return found
