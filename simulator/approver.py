"""A person who answers when a card asks: opens the link, reads for a moment, and approves."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import aiohttp

from simulator.state import Simulated
from simulator.teams import attached

NAME: Final = "Sato"
REASON: Final = "Read the figures of both stages; the fraud desk agrees."

_MOMENT: Final = timedelta(minutes=5)
_PATIENCE: Final = aiohttp.ClientTimeout(30)
"""In seconds of the wall clock: a page is real."""


async def approve(sim: Simulated, after: int) -> None:
    """Every question in a card that arrives in Teams after the inbox's entry number `after`, until cancelled."""
    answered: set[str] = set()
    async with aiohttp.ClientSession(timeout=_PATIENCE) as http:
        while True:
            for url in [url for url in _asked(sim, after) if url not in answered]:
                await sim.clock.until(sim.clock.now() + _MOMENT)
                if await _answer(http, url):
                    answered.add(url)
            await asyncio.sleep(0.05)


def _asked(sim: Simulated, after: int) -> Iterator[str]:
    for entry in sim.inbox.all("teams"):
        if entry.n > after and isinstance(entry.payload, dict):
            yield from _links(attached(entry.payload))


def _links(value: object) -> Iterator[str]:
    """Where the buttons of a card lead that lead to a question."""
    if isinstance(value, list):
        for each in value:
            yield from _links(each)
    elif isinstance(value, dict):
        url = value.get("url")
        if value.get("type") == "Action.OpenUrl" and isinstance(url, str) and "/approve/" in url:
            yield url
        for each in value.values():
            yield from _links(each)


async def _answer(http: aiohttp.ClientSession, url: str) -> bool:
    """Whether the answer arrived; a service that is just being started again is asked once more."""
    try:
        async with http.get(url) as page:
            if not page.ok:
                return page.status < 500  # noqa: PLR2004 (HTTP: a link that is no longer good stays so)
        async with http.post(url, data={"by": NAME, "reason": REASON, "answer": "approve"}) as page:
            return page.status < 500  # noqa: PLR2004 (HTTP)
    except (aiohttp.ClientError, TimeoutError):
        return False
