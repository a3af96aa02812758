"""The laws of the house that no tool knows: who may import whom, and what an import may cost."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "sentri_events").glob("*.py")) + sorted((ROOT / "sentri_events" / "migrations").glob("*.py"))
HANDLERS = sorted((ROOT / "handlers").glob("*.py"))
BACKENDS = sorted((ROOT / "backends").glob("*.py"))
EDGES = ("sentri_events.handlers", "sentri_events.backends", "tornado.web")
ABOVE = ("sentri_events.server", "sentri_events.cli", "sentri_events.cli_db", "sentri_events.options")
HEAVY = ("tornado", "peewee", "playhouse", "click", "httpx2", "msgspec", "http.client", "asyncio", "redis")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, wherever in the file; `.x` and `..x` where it is relative."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module.removesuffix('.')}.{alias.name}" for alias in node.names)


def breaches(path: Path, forbidden: tuple[str, ...]) -> list[str]:
    return [name for name in imports(path) if any(f"{name}.".startswith(f"{module}.") for module in forbidden)]


def of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [path for path in CORE if path.name != "server.py"], ids=of)
def test_the_core_knows_no_edge(path: Path) -> None:
    assert breaches(path, EDGES) == []


@pytest.mark.parametrize("path", HANDLERS, ids=of)
def test_handlers_look_down_at_the_core_only(path: Path) -> None:
    assert breaches(path, ("sentri_events.backends", *ABOVE)) == []


@pytest.mark.parametrize("path", BACKENDS, ids=of)
def test_backends_look_down_at_the_core_only(path: Path) -> None:
    assert breaches(path, ("sentri_events.handlers", "tornado.web", *ABOVE)) == []


@pytest.mark.parametrize("path", CORE + HANDLERS + BACKENDS, ids=of)
def test_imports_are_relative_in_a_room_and_absolute_elsewhere(path: Path) -> None:
    """A parent of a room is another folder in the repository than in the installed package."""
    assert [name for name in imports(path) if name.startswith("..")] == []
    assert breaches(path, ("handlers", "backends")) == []
    if path in CORE:
        assert [name for name in imports(path) if name.startswith(".")] == []


def test_what_is_imported_is_declared() -> None:
    """As required, or in an extra for users; pytest is there where the plugin is loaded."""
    distributions = metadata.packages_distributions()
    modules = {name.partition(".")[0] for path in CORE + HANDLERS + BACKENDS for name in imports(path)}
    foreign = modules - set(sys.stdlib_module_names) - {"sentri_events", "pytest", ""}
    required = metadata.requires("sentri-events") or []
    for_users = [
        line for line in required if not line.endswith(('extra == "test"', 'extra == "browser"', 'extra == "lint"'))
    ]
    declared = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in for_users}
    # Several distributions may share a name, as OpenTelemetry's do.
    assert [module for module in foreign if declared.isdisjoint(distributions.get(module, [module]))] == []


def test_the_plugin_costs_a_foreign_test_run_next_to_nothing() -> None:
    script = "import sys, pytest; before = set(sys.modules); import sentri_events, sentri_events.pytest_plugin;"
    script += "print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "sentri_events.pytest_plugin" in loaded
    assert [name for name in loaded if any(f"{name}.".startswith(f"{module}.") for module in HEAVY)] == []


@pytest.mark.parametrize("path", CORE + HANDLERS + BACKENDS, ids=of)
def test_a_file_opens_with_its_law(path: Path) -> None:
    law = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert law
    assert len(law.splitlines()) <= 7
