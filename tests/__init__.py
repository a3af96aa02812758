"""Asserts in the modules that tests share say as much as those in the tests themselves."""

import pytest

pytest.register_assert_rewrite("tests.store_contract")
