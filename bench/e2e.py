"""Post in -> rules -> webhook delivered: ours beside a naive handler and beside the durable limit, in one run.

    python -m bench.e2e [--events 4000] [--seconds 10]

Closed loop with 64 in flight (events a second), and open loop at 100 a second (milliseconds from post to delivery), with
10 and 1,000 rules. Lost and double deliveries are counted. Compare the ratios, not the numbers: they are of this machine.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench.load import Measured, Sink, SinkConnection, bodies, closed_loop, open_loop

EVENTGRID = "/runtime/webhooks/eventgrid?functionName=on_event"
TARGETS = ("switchyard", "naive", "limit")


def configuration(folder: Path, rules: int) -> Path:
    """As many rules as asked for, of which one matches each event."""
    (folder / "rules").mkdir(parents=True)
    (folder / "switchyard.yaml").write_text("defaults: {language: en}\n")
    text = "rules:\n"
    for n in range(rules):
        text += f"  - name: rule-{n}\n    event: RunCompleted\n"
        text += f"    match: {{workspace: prod, tags.team: team-{n}}}\n"
        text += '    do: [{webhook: {url: "${HOOK}", body: {id: "{{ event.id }}"}}}]\n'
    (folder / "rules" / "bench.yaml").write_text(text)
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def target(name: str, rules: int, hook: str, folder: Path) -> Generator[int]:
    """A process of its own, on a port; stopped at the end."""
    port = free_port()
    if name == "switchyard":
        config = configuration(folder / f"config-{rules}", rules)
        command = [
            str(Path(sys.executable).with_name("switchyard")),
            "serve",
            "--config",
            str(config),
            "--port",
            str(port),
        ]
        command += ["--state", str(folder / f"state-{rules}.db")]
    else:
        command = [sys.executable, "-m", "bench.targets", name, str(port), str(rules), hook]
    with (folder / f"{name}-{rules}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | {"HOOK": hook, "SWITCHYARD_PRIVATE_HOSTS": "127.0.0.1"}, stdout=log, stderr=log
        )
        try:
            wait_for(port, process, folder / f"{name}-{rules}.log")
            yield port
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"a target did not start:\n{log.read_text()[-3000:]}")


def listening_process(port: int) -> int:
    """The process that listens there."""
    return next(
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid
    )


async def measure(events: int, seconds: float, folder: Path, console: Console) -> dict[tuple[str, int, str], Measured]:
    loop = asyncio.get_running_loop()
    sink = Sink()
    server = await loop.create_server(lambda: SinkConnection(sink), "127.0.0.1", 0)
    hook = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    found: dict[tuple[str, int, str], Measured] = {}
    for rules in (10, 1000):
        for name in TARGETS:
            with target(name, rules, hook, folder) as port:
                await closed_loop(sink, port, EVENTGRID, list(bodies(10**8, 500, rules)), 64)  # warm
                work = list(bodies(0, events, rules))
                found[name, rules, "closed"] = await closed_loop(sink, port, EVENTGRID, work, 64)
                work = list(bodies(10**7, int(seconds * 100), rules))
                found[name, rules, "open"] = await open_loop(sink, port, EVENTGRID, work, 100)
            console.print(f"[dim]{name}, {rules} rules: {found[name, rules, 'closed'].rate:,.0f} events/s[/]")
    server.close()
    return found


def report(found: dict[tuple[str, int, str], Measured], console: Console) -> int:
    table = Table(title="post in → rules → webhook delivered")
    for column in ("rules", "target", "events/s", "of limit", "of naive", "p50 ms", "p99 ms", "lost", "double"):
        table.add_column(column, justify="left" if column == "target" else "right")
    for rules in (10, 1000):
        for name in TARGETS:
            closed, opened = found[name, rules, "closed"], found[name, rules, "open"]
            table.add_row(
                str(rules),
                name,
                f"{closed.rate:,.0f}",
                f"{closed.rate / found['limit', rules, 'closed'].rate:.2f}",
                f"{closed.rate / found['naive', rules, 'closed'].rate:.2f}",
                f"{opened.p50:.1f}",
                f"{opened.p99:.1f}",
                str(closed.lost + opened.lost),
                str(closed.doubles + opened.doubles),
            )
    console.print(table)
    ours = [value for (name, _, _), value in found.items() if name == "switchyard"]
    return 1 if any(one.lost or one.doubles or one.refused for one in ours) else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=10)
    asked = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(asked.events, asked.seconds, Path(folder), console))
    return report(found, console)


if __name__ == "__main__":
    sys.exit(main())
