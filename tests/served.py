"""A web app over HTTP, for the command line."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from shared.cli import main
from shared.web import app


class Served[D]:
    """A service that answers, and its desk."""

    def __init__(self, desk: D) -> None:
        self.desk = desk
        self.url = ""

    def run(self, *argv: str) -> int:
        return main([*argv, "--url", self.url])


@contextmanager
def serving[D](desk: D) -> Iterator[Served[D]]:
    served = Served(desk)
    site: Any = app(lambda: served.desk)  # type: ignore[arg-type, return-value]  # a desk of the test's own
    settings = uvicorn.Config(site, port=0, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    ready = threading.Event()
    startup = server.startup

    async def started(*given: object, **named: object) -> None:
        await startup(*given, **named)  # type: ignore[arg-type]
        ready.set()

    server.startup = started  # type: ignore[method-assign]
    thread.start()
    assert ready.wait(30)
    served.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.should_exit = True
        thread.join()
