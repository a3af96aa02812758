"""The backend of a single process keeps the rules of all."""

import pytest

from sentri_events.backends import open_backend
from tests.backend_contract import BackendContract, Make


class TestMemory(BackendContract):
    @pytest.fixture
    def make(self) -> Make:
        return lambda: open_backend("")
