"""What the peers and the load programs take, in `.bench/` of the clone: built and installed when it is first needed."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.chaos.parts import ROOT, PartError

HERE = Path(__file__).parent
FOLDER = ROOT / ".bench"
PYTHON_PEERS = ("sse-starlette==3.7.0", "uvicorn==0.54.0", "uvloop==0.23.0", "aiohttp==3.14.5", "aiohttp-sse==3.0")
NPM = ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")


@cache
def program(source: str) -> str:
    """The path of one of our C programs, compiled."""
    if shutil.which("cc") is None:
        debian("gcc", "libc6-dev")
    path = HERE / source
    made = _folder() / path.stem
    if not made.exists() or made.stat().st_mtime < path.stat().st_mtime:
        run("cc", "-O2", "-Wall", "-Wextra", "-o", str(made), str(path))
    return str(made)


@cache
def python() -> str:
    """A Python that has the peers written in it."""
    folder = _folder() / "python"
    if _changed(folder, " ".join(PYTHON_PEERS)):
        run(sys.executable, "-m", "venv", "--clear", str(folder))
        run(str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *PYTHON_PEERS)
        _done(folder, " ".join(PYTHON_PEERS))
    return str(folder / "bin" / "python")


@cache
def node_modules() -> str:
    """A folder with the libraries of the original."""
    if shutil.which("npm") is None:
        debian("nodejs", "npm")
    wanted = (ROOT / "tests" / "original" / "package.json").read_text()
    folder = _folder() / "node"
    if _changed(folder, wanted):
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text(wanted)
        run(*NPM, folder=folder)
        _done(folder, wanted)
    return str(folder / "node_modules")


@cache
def debian(*packages: str) -> None:
    """Installs packages, where that is possible."""
    run(str(ROOT / "scripts" / "debian"), *packages)


def run(*command: str, folder: Path = ROOT) -> None:
    """Raises `PartError` with what the command printed if it fails."""
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if made.returncode:
        raise PartError(f"{_words(command)} failed: {made.stderr.strip() or made.stdout.strip()}")


def _words(command: Sequence[str]) -> str:
    return " ".join(Path(word).name if number == 0 else word for number, word in enumerate(command))


def _folder() -> Path:
    FOLDER.mkdir(exist_ok=True)
    return FOLDER


def _changed(folder: Path, wanted: str) -> bool:
    note = folder / "installed.txt"
    return not note.exists() or note.read_text() != wanted


def _done(folder: Path, wanted: str) -> None:
    (folder / "installed.txt").write_text(wanted)
