"""Packages of npm that a test takes: installed once for each state of their list, and kept in pytest's cache."""

import shutil
import subprocess
from pathlib import Path

import pytest


def install(config: pytest.Config, source: Path) -> Path:
    """The folder in which the packages of `source / "package.json"` are installed."""
    assert config.cache is not None
    wanted = (source / "package.json").read_bytes()
    folder = config.cache.mkdir(source.name)
    done = folder / "installed.json"
    if not done.exists() or done.read_bytes() != wanted:
        shutil.copy(source / "package.json", folder)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=100)
        done.write_bytes(wanted)
    return Path(folder)
