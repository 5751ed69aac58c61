"""`switchyard serve`: the embedded host until Ctrl-C, with the simulated Azure and its story where asked."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sqlite3
from pathlib import Path
from typing import IO

import requests
from rich.console import Console

from local import simulated
from local.account import Account
from local.dead_letters import FOLDER
from local.host import Host, listening, wall
from shared.errors import printable


class Plain(logging.Formatter):
    """One record stays one record: what others named makes no line of its own, and moves nobody's cursor."""

    def format(self, record: logging.LogRecord) -> str:
        first, *rest = super().format(record).split("\n")
        return "\n".join([printable(first), *(f"  {printable(line)}" for line in rest)])


def serve(config: Path, port: int, state: Path, *, simulate: bool, story: bool) -> int:
    """Serves until it is told to stop. The exit code."""
    console = Console()
    said = logging.StreamHandler()
    said.setFormatter(Plain("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[said])
    base = os.environ.get("SWITCHYARD_PUBLIC_URL") or f"http://localhost:{port}"  # noqa: TID251 (the edge)
    box = held = None
    try:
        held = _alone(state)
        if simulate or story:
            begin = max(wall(), simulated.newest(state) or wall())
            box = simulated.start(state.parent / "simulator", state.parent / FOLDER, begin=begin)
            os.environ.update(box.environment)  # noqa: TID251 (SDK clients read their trust from the environment)
        environ = {**os.environ, "SWITCHYARD_PUBLIC_URL": base}  # noqa: TID251 (the edge)
        return asyncio.run(
            _serve(config, port, state, environ, console=console, box=box, story=story), loop_factory=_loop()
        )
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, OSError) and error.filename is None:
            wrong = (
                f"[red]Port {port} is not free[/] ({error.strerror}): stop what uses it, or take another with --port."
            )
        else:
            why = error.strerror if isinstance(error, OSError) else error
            wrong = f"[red]The state file {state} can't be used[/] ({why}): take another with --state."
        console.print(wrong, soft_wrap=True)
        return 1
    finally:
        if box:
            box.stop()
        if held:
            held.close()


def _alone(state: Path) -> IO[bytes]:
    """Until it is closed, no other host works on this state: two would do everything twice."""
    state.parent.mkdir(parents=True, exist_ok=True)
    lock = state.with_name(f"{state.name}.lock")
    held = lock.open("wb")
    with contextlib.suppress(ImportError):  # Windows has none
        import fcntl

        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            held.close()
            raise OSError(error.errno, "another host is at work on it", str(lock)) from None
    return held


def _loop() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not made for Windows
        return None
    return uvloop.Loop


async def _serve(
    config: Path,
    port: int,
    state: Path,
    environ: dict[str, str],
    *,
    console: Console,
    box: simulated.Simulated | None,
    story: bool,
) -> int:
    base = environ["SWITCHYARD_PUBLIC_URL"]
    watched = console.is_terminal or box is not None  # nobody reads the account of a service that writes to a log file
    clock, pace = (box.now, box.rate) if box else (wall, 1)
    account = Account(console, base, clock) if watched else None
    host = Host(
        config,
        state,
        environ,
        listener=account,
        on_step=account.rollout if account else None,
        on_change=account.reloaded if account else None,
        clock=clock,
        pace=pace,
        inbox=box.http if box else None,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    # What was loaded stays: the collector need not look at it again, and the young need not be looked at so often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    async with listening(host, port) as bound:
        await host.service.refresh()
        _welcome(console, host, base, simulated_too=box is not None)
        if box:
            door = f"http://127.0.0.1:{bound}/runtime/webhooks/eventgrid?functionName=on_event"
            try:
                await asyncio.to_thread(box.subscribe, door)
                if story:
                    await asyncio.to_thread(box.play)
            except requests.RequestException as error:
                console.print(f"[red]The simulated Event Grid refused the subscription:[/] {error}")
        await stop.wait()
        console.print("\nStopping: no new events are taken; what is under way is being finished.")
    left = await host.stop()
    waiting = "1 message is" if left == 1 else f"{left} messages are"
    console.print(f"{waiting} left for the next start." if left else "Nothing is left over.")
    return 0


def _welcome(console: Console, host: Host, base: str, *, simulated_too: bool) -> None:
    loaded = host.service.loaded
    console.print(f"[bold]Switchyard[/] is serving at {base}   [dim](Ctrl-C stops it)[/]", highlight=False)
    console.print(f"  console  {base}/", highlight=False)
    if simulated_too:
        console.print(
            f"  inbox    {base}/inbox   [dim]what the simulated Teams, mail, SMS and GitHub received[/]",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"  rules    {len(loaded.rules)} in force, version {loaded.version}", highlight=False)
    for problem in loaded.problems:
        console.print(f"  [red]refused[/]  {problem}", highlight=False, soft_wrap=True)
    for name in loaded.kept:
        console.print(
            f"  [yellow]kept[/]     {name}: the last good version is in force", highlight=False, soft_wrap=True
        )
    console.print()
