"""Schedules: retention, the archive, dead letters, the configuration, silences, the digest, model quality, what the registry says."""

import azure.functions as func

from functions import host

bp = func.Blueprint()


@bp.function_name("on_retention")
@bp.timer_trigger(arg_name="timer", schedule="0 17 * * * *", run_on_startup=False)
async def on_retention(timer: func.TimerRequest) -> None:  # noqa: ARG001 (the binding wants its argument)
    service = host.service()
    await service.prune(service.world.clock())


@bp.function_name("on_silences")
@bp.timer_trigger(arg_name="timer", schedule="0 */5 * * * *", run_on_startup=False)
async def on_silences(timer: func.TimerRequest) -> None:  # noqa: ARG001 (the binding wants its argument)
    """Their owners hear of those that end soon, or stay long."""
    await host.service().on_silences()


@bp.function_name("on_digest")
@bp.timer_trigger(arg_name="timer", schedule="15 */10 * * * *", run_on_startup=False)
async def on_digest(timer: func.TimerRequest) -> None:  # noqa: ARG001 (the binding wants its argument)
    """Once a day: how much was held back."""
    service = host.service()
    await service.digest(service.world.clock())


@bp.function_name("on_registry")
@bp.timer_trigger(arg_name="timer", schedule="0 */15 * * * *", run_on_startup=False)
async def on_registry(timer: func.TimerRequest) -> None:  # noqa: ARG001 (the binding wants its argument)
    """A version that a person rejected in the registry goes, and the last approved one comes back."""
    await host.service().conductor.watch()


@bp.function_name("on_configuration")
@bp.timer_trigger(arg_name="timer", schedule="30 */5 * * * *", run_on_startup=False)
async def on_configuration(timer: func.TimerRequest) -> None:  # noqa: ARG001 (the binding wants its argument)
    """An edit is taken up, and told of, also while nothing arrives. (Whoever works on messages looks for itself, far more often.)"""
    await host.service().refresh()


@bp.function_name("on_archive")
@bp.timer_trigger(arg_name="timer", schedule="45 */5 * * * *", run_on_startup=False)
async def on_archive(timer: func.TimerRequest) -> None:  # noqa: ARG001 (the binding wants its argument)
    """What came goes to the archive, which outlives the records."""
    service = host.service()
    await service.archive(service.world.clock())


@bp.function_name("on_dead_letters")
@bp.timer_trigger(arg_name="timer", schedule="50 */5 * * * *", run_on_startup=False)
async def on_dead_letters(timer: func.TimerRequest) -> None:  # noqa: ARG001 (the binding wants its argument)
    """What Event Grid gave up comes back into the record."""
    service = host.service()
    await service.on_dead_letters(service.world.clock())


@bp.function_name("on_quality")
@bp.timer_trigger(arg_name="timer", schedule="20 */10 * * * *", run_on_startup=False)
async def on_quality(timer: func.TimerRequest) -> None:  # noqa: ARG001 (the binding wants its argument)
    """Predictions whose window is due are held against what came true."""
    await host.service().on_quality()
