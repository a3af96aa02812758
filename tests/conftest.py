"""What the tests stand on: real servers, and an event loop for pytest-tornado that is not deprecated."""

from __future__ import annotations  # Playwright is installed where its tests run, and only there

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from tornado.platform.asyncio import AsyncIOLoop

from tests.browser import Tabs, chromium
from tests.redis_server import RedisServer
from tests.running import running
from tests.server_process import PROCESSES, ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile("house", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("house")


@pytest.fixture
def io_loop() -> Iterator[AsyncIOLoop]:
    """In place of pytest-tornado's own, which makes a loop current in a way that is gone from newer Pythons."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    tornado_loop = AsyncIOLoop(asyncio_loop=loop, make_current=False)
    yield tornado_loop
    asyncio.set_event_loop(None)
    tornado_loop.close(all_fds=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A plain `async def test_…` is pytest-tornado's, with time enough for real servers."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.add_marker(pytest.mark.gen_test(timeout=60))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A real server process of the test's own, started."""
    process = ServerProcess(tmp_path)
    try:
        yield process.start()
    finally:
        process.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A real Redis of the test's own, started."""
    with running(RedisServer(tmp_path)) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, redis: RedisServer) -> Iterator[ServerProcess]:
    """Several processes of a real server that Redis is between, started."""
    process = ServerProcess(tmp_path, "--processes", str(PROCESSES), "--redis-url", redis.url)
    try:
        yield process.start()
    finally:
        process.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium for a module of tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Tabs]:
    """A browser profile of the test's own."""
    with Tabs(browser) as tabs:
        yield tabs
