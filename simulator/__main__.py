"""`python -m simulator`: Azure in a box, until it is told to stop."""

import argparse
import asyncio
import contextlib
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from uvicorn.loops.auto import auto_loop_factory

from simulator.app import Options, running


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--https-port", type=int, default=0, help="where Azure answers; 0: any free port")
    parser.add_argument("--http-port", type=int, default=7072, help="/inbox and /control; 0: any free port")
    parser.add_argument("--rate", type=float, default=300, help="simulated seconds in one real second")
    parser.add_argument("--start", type=_moment, help="the simulated moment at which it begins; default: now")
    parser.add_argument("--seed", type=int, default=7, help="of all chance")
    parser.add_argument("--deliver-to", help="Event Grid subscribes this URL, as soon as it answers")
    parser.add_argument("--state-dir", type=Path, help="gets ca.pem and simulator.json; default: a temporary one")
    parser.add_argument("--chaos", action="store_true", help="Event Grid repeats, delays and reorders noticeably")
    parser.add_argument("--dead-letters", type=Path, help="the folder that gets what Event Grid gives up")
    parser.add_argument("--parent", type=int, help="ends when this process is gone")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = given.state_dir or Path(stack.enter_context(TemporaryDirectory(prefix="simulator-")))
        options = Options(
            https_port=given.https_port,
            http_port=given.http_port,
            rate=given.rate,
            start=given.start,
            seed=given.seed,
            deliver_to=given.deliver_to,
            state_dir=folder,
            chaos=given.chaos,
            dead_letters=given.dead_letters,
        )
        asyncio.run(_serve(options, given.parent), loop_factory=auto_loop_factory())


def _moment(text: str) -> datetime:
    """An ISO 8601 time; UTC where it does not say."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def _serve(options: Options, parent: int | None) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with running(options) as box:
        print(f"Azure in a box: {box.sim.base} for clients, {box.sim.plain}/inbox for people", flush=True)  # noqa: T201
        while not stop.is_set() and (parent is None or _alive(parent)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
