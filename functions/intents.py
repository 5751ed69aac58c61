"""One message off the queue -> decide or perform; and the poison queues."""

import azure.functions as func

from functions import host
from shared.settings import INTAKE_QUEUE, WORK_QUEUE

bp = func.Blueprint()


@bp.function_name("on_message")
@bp.queue_trigger(arg_name="message", queue_name=WORK_QUEUE, connection="AzureWebJobsStorage")
async def on_message(message: func.QueueMessage) -> None:
    await host.service().on_message(message.get_body())


@bp.function_name("on_poison")
@bp.queue_trigger(arg_name="message", queue_name=f"{WORK_QUEUE}-poison", connection="AzureWebJobsStorage")
async def on_poison(message: func.QueueMessage) -> None:
    await host.service().on_poison(message.get_body())


@bp.function_name("on_poisoned_event")
@bp.queue_trigger(arg_name="message", queue_name=f"{INTAKE_QUEUE}-poison", connection="AzureWebJobsStorage")
async def on_poisoned_event(message: func.QueueMessage) -> None:
    """What Event Grid put on its queue and `on_queued_event` could not take."""
    await host.service().on_poison(message.get_body())
