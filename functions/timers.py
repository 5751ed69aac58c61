"""Schedules: retention."""

import azure.functions as func

from functions import host

bp = func.Blueprint()


@bp.function_name("on_retention")
@bp.timer_trigger(arg_name="timer", schedule="0 17 * * * *", run_on_startup=False)
async def on_retention(timer: func.TimerRequest) -> None:  # noqa: ARG001 (the binding wants its argument)
    service = host.service()
    await service.prune(service.world.clock())
