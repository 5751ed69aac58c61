"""Event Grid in -> messages on the queue. Within milliseconds, and no outside call."""

from typing import List

import azure.functions as func

from functions import host
from shared.settings import INTAKE_QUEUE, WORK_QUEUE
from shared.wire import arrived, unread

bp = func.Blueprint()


def envelope(event: func.EventGridEvent | func.CloudEvent) -> dict[str, object]:
    """The envelope as it came. The worker has parsed the time already; everything else is as it was sent."""
    if isinstance(event, func.CloudEvent):
        sent = {
            "specversion": event.specversion,
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "subject": event.subject,
            "time": event.time and event.time.isoformat(),
            "data": event.get_json(),
        }
    else:
        sent = {
            "id": event.id,
            "topic": event.topic,
            "subject": event.subject,
            "eventType": event.event_type,
            "eventTime": event.event_time and event.event_time.isoformat(),
            "data": event.get_json(),
            "dataVersion": event.data_version,
        }
    return {name: value for name, value in sent.items() if value is not None}


@bp.function_name("on_event")
@bp.event_grid_trigger(arg_name="event")
@bp.queue_output(arg_name="out", queue_name=WORK_QUEUE, connection="AzureWebJobsStorage")
def on_event(event: func.EventGridEvent, out: func.Out[List[str]]) -> None:
    out.set(arrived(envelope(event), host.now(), sources=host.sources(), levels=host.levels()))


@bp.function_name("on_queued_event")
@bp.queue_trigger(arg_name="message", queue_name=INTAKE_QUEUE, connection="AzureWebJobsStorage")
@bp.queue_output(arg_name="out", queue_name=WORK_QUEUE, connection="AzureWebJobsStorage")
def on_queued_event(message: func.QueueMessage, out: func.Out[List[str]]) -> None:
    """The keyless way in: Event Grid fills a storage queue with its own identity."""
    import msgspec

    now, raw = host.now(), message.get_body()
    try:
        sent = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        out.set(unread(raw, f"not JSON: {error}", now))
        return
    texts: List[str] = []
    for one in sent if isinstance(sent, list) else [sent]:
        if isinstance(one, dict):
            texts += arrived(one, now, sources=host.sources(), levels=host.levels())
        else:
            texts += unread(msgspec.json.encode(one), "not an event: expected a JSON object", now)
    out.set(texts)
