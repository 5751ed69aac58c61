"""The levers of the box, for people and tests: time, faults, events, subscriptions, the story."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, cast

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator import studio
from simulator.arm import Refused, stamp
from simulator.azureml import AzureML
from simulator.batch import BatchEndpoints
from simulator.eventgrid import EventGrid, Schema
from simulator.faults import Handler
from simulator.levers import Levers, read
from simulator.monitor import Monitor
from simulator.online import OnlineEndpoints
from simulator.state import Channel, Fault, Simulated
from simulator.story import Story


class Lever(msgspec.Struct, forbid_unknown_fields=True):
    """The clock: run at another rate, or jump ahead by so many simulated seconds."""

    rate: Annotated[float, msgspec.Meta(ge=0)] | None = None
    advance: Annotated[float, msgspec.Meta(ge=0)] | None = None


class Trouble(msgspec.Struct, forbid_unknown_fields=True):
    where: str
    how: int | Literal["drop", "lost answer", "hang"]
    times: int = 1
    retry_after: int | None = None
    method: str = ""
    path: str = ""


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """A subscription. `schema`: in which the events are delivered; `batch`: the most events in one request."""

    endpoint: str
    schema: Schema = "EventGridSchema"
    name: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9-]{3,64}$")] = "switchyard"
    batch: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 1


@dataclass(frozen=True)
class Control:
    sim: Simulated
    eventgrid: EventGrid
    azureml: AzureML
    story: Story
    endpoints: OnlineEndpoints
    batch: BatchEndpoints
    monitor: Monitor

    def routes(self) -> list[BaseRoute]:
        levers = Levers(self.sim, self.azureml, self.endpoints, self.batch, self.monitor, self.story.workspace)
        posts: dict[str, Handler] = {
            **levers.posts(),
            "faults": self._faults,
            "clock": self._clock,
            "events": self._events,
            "subscribe": self._subscribe,
            "story": self._play,
        }
        gets: dict[str, Handler] = {
            "endpoints": levers.endpoints,
            "state": self._state,
            "eventgrid": self._eventgrid,
            "inbox": self._inbox,
            "story": self._progress,
        }
        return [
            *(
                Route(f"/control/{name}", _checked(self.sim, handler), methods=["POST"])
                for name, handler in posts.items()
            ),
            *(Route(f"/control/{name}", _checked(self.sim, handler)) for name, handler in gets.items()),
            *studio.routes(self.azureml),
        ]

    async def _state(self, _: Request) -> Response:
        sim = self.sim
        return JSONResponse(
            {
                "clock": {"now": stamp(sim.clock.now()), "rate": sim.clock.rate},
                "azure": sim.base,
                "inbox": Counter(item.channel for item in sim.inbox.all()),
                "eventgrid": self.eventgrid.describe()["counts"],
                "workspaces": self.azureml.counts(),
                "endpoints": {
                    each.path: {"traffic": each.traffic, "mirror": each.mirror, "state": each.state}
                    for each in self.endpoints.all()
                },
                "batch": {each.path: {"default": each.default, "state": each.state} for each in self.batch.all()},
                "faults": [asdict(fault) for fault in sim.faults if fault.times > 0],
                "story": self.story.state,
            }
        )

    async def _faults(self, request: Request) -> Response:
        """New ones, beside those that are left. What hangs is let go."""
        wanted = await read(request, list[Trouble])
        left = [fault for fault in self.sim.faults if fault.times > 0]
        self.sim.faults[:] = left + [Fault(**msgspec.structs.asdict(item)) for item in wanted]
        return JSONResponse({"faults": [asdict(fault) for fault in self.sim.faults]})

    async def _clock(self, request: Request) -> Response:
        lever, clock = await read(request, Lever), self.sim.clock
        if lever.rate is not None:
            clock.turn(lever.rate)
        clock.advance(lever.advance or 0)
        return JSONResponse({"now": stamp(clock.now()), "rate": clock.rate})

    async def _events(self, request: Request) -> Response:
        """As they are: no check stands between a tester and a malformed event."""
        given = await read(request, list[dict[str, Any]])
        return JSONResponse({"published": [self.eventgrid.publish(event) for event in given]}, 202)

    async def _eventgrid(self, _: Request) -> Response:
        return JSONResponse(self.eventgrid.describe())

    async def _inbox(self, request: Request) -> Response:
        channel = cast("Channel | None", request.query_params.get("channel"))
        return JSONResponse([vars(item) | {"at": stamp(item.at)} for item in self.sim.inbox.all(channel)])

    async def _subscribe(self, request: Request) -> Response:
        wish = await read(request, Wish)
        made = await self.eventgrid.subscribe(wish.name, wish.endpoint, wish.schema, wish.batch)
        body = {"name": made.name, "state": made.state, "problem": made.problem}
        return JSONResponse(body, 200 if made.state == "Succeeded" else 422)

    async def _play(self, _: Request) -> Response:
        if self.story.state == "playing":
            return JSONResponse({"error": "the story is being played already"}, 409)
        if not any(to.state == "Succeeded" for to in self.eventgrid.subscriptions.values()):
            return JSONResponse({"error": 'nobody listens: POST /control/subscribe {"endpoint": …} first'}, 409)
        self.eventgrid.spawn(self.story.play())
        return JSONResponse(self.story.describe(), 202)

    async def _progress(self, _: Request) -> Response:
        return JSONResponse(self.story.describe())


def _checked(sim: Simulated, handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        sim.clock.settle()
        try:
            return await handler(request)
        except Refused as refused:
            return JSONResponse({"error": f"{request.url.path}: {refused}"}, refused.status)
        except msgspec.MsgspecError as error:
            return JSONResponse({"error": f"{request.url.path}: {error}"}, 400)

    return answer
