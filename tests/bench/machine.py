"""On what and with what was measured."""

import os
import platform
import re
import subprocess
import time
from importlib import metadata
from pathlib import Path

from tests.bench import kit


def machine() -> dict[str, str]:
    """Date, processor, kernel, and the versions that matter."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    ours = ("tornado", "uvloop", "msgspec", "peewee", "redis", "hiredis")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": f"{os.cpu_count()} x {model[1] if model else platform.machine()}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "ours": ", ".join(f"{name} {metadata.version(name)}" for name in ours),
        "peers": ", ".join([*kit.PYTHON_PEERS, f"node {_said('node', '--version')}", _said("nginx", "-v")]),
        "packages": _said("dpkg-query", "-W", "libnginx-mod-nchan"),
    }


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return " ".join((done.stdout + done.stderr).split())
