"""What an event is about, in a few words."""

from shared.events import Event
from shared.messages.formats import resource


def about(event: Event | None) -> str:
    """What an event is about, as short as people say it; its subject where nothing shorter is known."""
    match event:
        case Event(type="ActionCompleted" | "ActionFailed", data={"about": str(what), "said": str(said)}):
            return f"{what}: {said}"
        case Event(type="EventsDeadLettered", data={"said": str(said)}):
            return said
        case Event(type="ActionFailed" | "EventRefused", data={"reason": str(reason)}):
            action = event.data.get("action")
            return f"{action}: {reason}" if action else reason
        case Event(drift=drift) if drift and drift.monitor:
            return f"{drift.monitor} / {drift.signal}" if drift.signal else drift.monitor
        case Event(endpoint=endpoint, model=model) if endpoint:
            return f"{model.name}:{model.version} → {endpoint.name}" if model else endpoint.name
        case Event(model=model) if model:
            return f"{model.name}:{model.version}"
        case Event(run=run) if run:
            return f"{run.experiment} / {run.id}" if run.experiment else run.id
        case Event(blob=blob) if blob and blob.name:
            return f"{blob.container} / {blob.name}"
        case Event():
            return resource(event.subject) or event.id
        case None:
            return ""
