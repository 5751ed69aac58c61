"""The embedded host in the time of a simulated Azure, as a program for who kills it: in earnest it knows no clock but the wall's."""

import argparse
import asyncio
import json
import os
from datetime import datetime, timedelta
from pathlib import Path

from local.host import Host, listening, wall


async def serve(config: Path, state: Path, port: int) -> None:
    clock = json.loads(os.environ["SIMULATED_CLOCK"])  # noqa: TID251 (the edge)
    start, since, rate = datetime.fromisoformat(clock["start"]), clock["wall"], clock["rate"]

    def now() -> datetime:
        return start + timedelta(seconds=(wall().timestamp() - since) * rate)

    host = Host(config, state, os.environ, clock=now, pace=rate)  # noqa: TID251 (the edge)
    async with listening(host, port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, kind in (("--config", Path), ("--state", Path), ("--port", int)):
        parser.add_argument(name, type=kind, required=True)
    asyncio.run(serve(**vars(parser.parse_args())))
