"""What the modules share: how hypothesis runs, and one Azurite for the whole run, since it takes a second to start."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import azurite_server
from tests.azurite_server import Azurite

# No test depends on how fast the machine is.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Azurite]:
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"\n{text}\n")
            sys.stdout.flush()

    with azurite_server.running(tmp_path_factory.mktemp("azurite"), say) as server:
        yield server


@pytest.fixture
def account(azurite: Azurite) -> str:
    """The connection string of an account that is empty."""
    return azurite.account()
