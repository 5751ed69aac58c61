"""Memory of the embedded host over many events: should stay flat.

python -m bench.memory [--events 100000]
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import psutil
from rich.console import Console

from bench.e2e import EVENTGRID, listening_process, target
from bench.load import Sink, SinkConnection, bodies, closed_loop

STEP = 10_000


async def measure(events: int, folder: Path, console: Console) -> list[float]:
    """Resident MiB after each ten thousand events, every one of which a rule matches and delivers."""
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: SinkConnection(sink), "127.0.0.1", 0)
    hook = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    found = []
    with target("switchyard", 10, hook, folder) as port:
        process = psutil.Process(listening_process(port))
        for start in range(0, events, STEP):
            measured = await closed_loop(sink, port, EVENTGRID, list(bodies(start, STEP, 10)), 64)
            found.append(process.memory_info().rss / 2**20)
            console.print(f"{start + STEP:>8,} events  {found[-1]:6.1f} MiB  {measured.rate:5,.0f} events/s")
    server.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    asked = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(asked.events, Path(folder), console))
    console.print(f"the last step beside the second: {found[-1] / found[min(1, len(found) - 1)]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
