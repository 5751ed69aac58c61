"""Synapse: the development endpoint of workspaces, which are folders here, with the pipelines of Data Factory."""

from typing import Final

from starlette.routing import BaseRoute

from simulator.data_factory import Pipelines
from simulator.state import Simulated

PREFIX: Final = "/synapse"
AUDIENCE: Final = "https://dev.azuresynapse.net"
VERSION: Final = "2020-12-01"


class Synapse(Pipelines):
    def __init__(self, sim: Simulated) -> None:
        super().__init__(sim, "synapse", VERSION, 202, AUDIENCE)

    def paths(self) -> list[BaseRoute]:
        return self.routes(PREFIX + "/{workspace}", lambda request: str(request.path_params["workspace"]))
