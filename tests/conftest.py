"""Fixtures that every kind of test may use. A missing nats-server is a failure, not a skip."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings
from tests.support.broker import running_broker
from tests.support.postgres import stop_servers

from interlock.runtime.broker.server import EmbeddedBroker

settings.register_profile("untimed", deadline=None)  # machines are noisy, and no test is timed
settings.load_profile("untimed")


def pytest_sessionfinish() -> None:
    """What processes of the tests share ends with them."""
    stop_servers()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedBroker]:
    """A provisioned broker for tests that get along with each other's events."""
    async with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest_asyncio.fixture
async def fresh_broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    """A provisioned broker of the test's own, to be killed, filled or reconfigured."""
    async with running_broker(tmp_path) as running:
        yield running
