"""The two load programs on their own core: what viewers got and what a publisher was answered, as named numbers."""

import json
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.bench import kit
from tests.bench.peers import Peer, cores

NDJSON = "application/x-ndjson"
PATIENCE = 120  # seconds
Sample = dict[str, float]


class Flawed(Exception):
    """Somebody got too little, too much or in the wrong order, or a server refused something: nothing to be counted."""


def publisher(peer: Peer, *, events: int, size: int = 200, batch: int = 1, **options: object) -> list[str]:
    """The command of one that posts; `options` are ssepub's own."""
    content = {"ctype": NDJSON} if batch > 1 else {}
    options = {"port": peer.port, "path": peer.publish, "events": events, "size": size, "batch": batch} | options
    return [*_pinned("ssepub.c"), *_words(options | content)]


def publish(peer: Peer, **options: Any) -> Sample:
    """Posts and waits for all answers; `options` as for `publisher`."""
    return _published(_run(publisher(peer, **options)).stderr)


def view(peer: Peer, *, viewers: int, events: int, post: list[str] | None = None, **options: object) -> Sample:
    """`viewers` follow, then `post` is run; returns when each has got `events`, or when `hold` seconds are over.

    Raises `Flawed` unless each got all of them, in order, and each post was answered.
    """
    answered = peer.folder / "published.json"
    if post is not None:
        options["trigger"] = f"{shlex.join(post)} 2>{shlex.quote(str(answered))}"
    seen = _seen(_run(_viewers(peer, conns=viewers, events=events, **options)).stdout)
    return seen if post is None else seen | _published(answered.read_text())


class viewing:
    """Viewers that are there while inside, for `hold` seconds; afterwards `sample` has what they saw."""

    def __init__(self, peer: Peer, *, viewers: int, **options: object) -> None:
        self.sample: Sample = {}
        self._command = _viewers(peer, conns=viewers, **options)

    def __enter__(self) -> "subprocess.Popen[str]":
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self._process

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._process.kill()
        text, _ = self._process.communicate()
        if kind is None:
            self.sample = _seen(text)


def processor(pid: int) -> float:
    """Seconds of processor time that a process has had: Linux makes the number of such a clock from its pid."""
    return time.clock_gettime((~pid << 3) | 2)


def _viewers(peer: Peer, **options: object) -> list[str]:
    mine: dict[str, object] = {"port": peer.port, "path": peer.stream, "warm": peer.greetings, "pid": peer.pid}
    mine |= {"timeout": PATIENCE}
    return [*_pinned("sseload.c"), *_words(mine | options)]


def _seen(text: str) -> Sample:
    found = json.loads(text)
    wrong = {name: found[name] for name in ("lost", "gap", "reorder", "failed", "not200", "closed") if found[name]}
    if wrong or found["lat_us"]["neg"]:
        raise Flawed(f"viewers: {wrong or 'from the future'}")
    events = found["events"]
    sample = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
    sample |= {name: value / 1000 for name, value in found["lat_us"].items() if name != "n"}
    took = found["ready_to_last_s"]  # from before the first post on, so that nothing is won by holding events back
    sample["through"] = events / took if took else 0.0
    sample["cpu_us"] = found["server_cpu_s"] * 1e6 / events if events else 0.0
    return sample


def _published(text: str) -> Sample:
    lines = text.splitlines()
    found = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None
    if found is None or found["non2xx"] or found["answered"] != found["posts"]:
        raise Flawed(f"publisher: {text.strip()[-300:]}")
    return {
        "published": found["events_per_s"],
        "answer_p50": found["resp_p50_us"] / 1000,
        "answer_p99": found["resp_p99_us"] / 1000,
    }


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE)
    if done.returncode not in (0, 2):
        raise Flawed(f"{Path(command[3]).name}: {done.stderr.strip()[-300:]}")
    return done


def _pinned(source: str) -> list[str]:
    return ["taskset", "-c", cores()[1], kit.program(source)]


def _words(options: dict[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value)) if word]
