"""What an absence rule waits for has come: noted, so that `expect` finds it. Also if it comes before what it was to follow:
events are in no order.
"""

from hashlib import sha256
from typing import Final

from shared.actions import Action, Context, Params
from shared.record import Result

FOLDER: Final = "arrived"


class Arrived(Params):
    rule: str


def mark(rule: str, key: str) -> tuple[str, str]:
    """Where on the shelf the time of the newest one stands."""
    return FOLDER, sha256(f"{rule}\n{key}".encode(errors="surrogatepass")).hexdigest()[:32]


async def run(params: Arrived, context: Context) -> Result:
    at = context.event.time.isoformat()
    for key in context.keys or ("[]",):
        await _newest(context, *mark(params.rule, key), at)
    return Result(f"{params.rule} need not wait for it any more", None, {"rule": params.rule})


async def _newest(context: Context, folder: str, name: str, at: str) -> None:
    shelf = context.world.shelf
    while (text := await shelf.get(folder, name)) is None or text < at:
        if await shelf.swap(folder, name, text, at):
            return


ACTION = Action(
    example=Arrived(rule="model-not-deployed"),
    run=run,
    idempotent=True,
    summary="Notes that what an absence rule waits for has come.",
    internal=True,
)
