"""Traces: a publish, the store within it, and the fan-out that it caused; nothing of it where nobody asks."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sentri_events.backends.memory import MemoryBackend
from sentri_events.errors import Conflict
from sentri_events.settings import Settings
from sentri_events.tracing import EVENTS, RUN, VIEWERS, TracedHub, TracedStore
from tests.bridge import until
from tests.raw import Stream, ask
from tests.server_process import ServerProcess, wait_until
from tests.store_contract import WORKSPACE, logs, make_run, some

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traced:
    """A hub, started, and the spans that have ended."""

    def __init__(self, folder: Path) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        settings = Settings(database=f"sqlite:///{folder / 'events.db'}")
        self.hub = TracedHub(TracedStore(settings.database, provider.get_tracer("test")), MemoryBackend(), settings)

    async def __aenter__(self) -> "Traced":
        await self.hub.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.hub.stop()

    def named(self, name: str) -> Sequence[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


def within(inner: ReadableSpan, outer: ReadableSpan) -> bool:
    assert inner.context is not None
    assert outer.context is not None
    assert inner.parent is not None
    return (inner.parent.span_id, inner.context.trace_id) == (outer.context.span_id, outer.context.trace_id)


async def test_a_publish_holds_its_store_and_its_fan_out(tmp_path: Path) -> None:
    """Caught: a fan-out that is a trace of its own."""
    async with Traced(tmp_path) as traced:
        hub = traced.hub
        run = await make_run(hub.store)
        heard = [hub.events(WORKSPACE, run) for _ in range(3)]
        for events in heard:
            assert (await anext(events)).type == "snapshot"
        await hub.publish(WORKSPACE, run, logs(2))
        for events in heard:
            assert [(await anext(events)).seq for _ in range(2)] == [1, 2]
            await events.aclose()
        await until(lambda: traced.named("fan-out"), "all are written to")
        (publish,), (store,), (out,) = (traced.named(name) for name in ("publish", "store", "fan-out"))
        assert within(store, publish)
        assert within(out, publish)
        assert dict(publish.attributes or {}) == dict(store.attributes or {}) == {RUN: run, EVENTS: 2}
        assert dict(out.attributes or {}) == {RUN: run, EVENTS: 2, VIEWERS: 3}
        assert publish.parent is None
        assert publish.status.is_ok or publish.status.is_unset
        await hub.publish(WORKSPACE, run, logs(1))
        assert len(traced.named("fan-out")) == 1, "nobody follows any more"
        assert hub._under_way == {}


async def test_a_fan_out_of_several_publishes_is_linked_to_all(tmp_path: Path) -> None:
    async with Traced(tmp_path) as traced:
        hub = traced.hub
        run = await make_run(hub.store)
        events = hub.events(WORKSPACE, run)
        await anext(events)
        await asyncio.gather(*(hub.publish(WORKSPACE, run, logs(1)) for _ in range(20)))
        assert [(await anext(events)).seq for _ in range(20)] == list(range(1, 21))
        await events.aclose()
        publishes = {span.context.span_id for span in traced.named("publish") if span.context}
        linked = {link.context.span_id for span in traced.named("fan-out") for link in span.links}
        assert linked == publishes
        assert len(publishes) == 20


async def test_a_refusal_is_an_error_of_its_span(tmp_path: Path) -> None:
    async with Traced(tmp_path) as traced:
        run = await make_run(traced.hub.store)
        await traced.hub.publish(WORKSPACE, run, some({"type": "done", "status": "failed"}))
        with suppress(Conflict):
            await traced.hub.publish(WORKSPACE, run, logs(1))
        assert [span.status.is_ok or span.status.is_unset for span in traced.named("publish")] == [True, False]
        assert traced.hub._under_way == {}


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """What is posted to /v1/traces of the URL."""
    posted: list[bytes] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collect)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_sends_them_where_the_environment_says(tmp_path: Path) -> None:
    """To a collector of ours, in the trace that the request names. Caught: a traceparent that is not read; what is not
    sent yet when the server stops."""
    with collector() as (url, posted):
        server = ServerProcess(tmp_path, env={"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "600000"})
        try:
            server.start()
            run = server.make_run()
            with Stream(server.port, run) as viewer:
                viewer.block()
                path = f"/api/v1/runs/{run}/events"
                answer = ask(server.port, "POST", path, {"type": "log", "message": "x"}, {"traceparent": PARENT})
                assert answer.status == 201
                viewer.block()
            assert posted == []
            assert server.stop() == 0
        finally:
            server.close()
    sent = b"".join(posted)
    for word in (b"publish", b"store", b"fan-out", b"sentri-events", run.encode()):
        assert word in sent
    assert sent.count(bytes.fromhex("0af7651916cd43dd8448eb211c80319c")) >= 3
    assert b'"x"' not in sent


def test_a_collector_that_does_not_answer_changes_nothing(tmp_path: Path) -> None:
    """Publishing goes on, and the server ends: what is not sent is given up. Caught: the answer is waited for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
        server = ServerProcess(tmp_path, env=env)
        try:
            server.start()
            run = server.make_run()
            for _ in range(50):
                assert ask(server.port, "POST", f"/api/v1/runs/{run}/events", {"type": "log"}).status == 201
            assert server.stop() == 0
        finally:
            server.close()


def test_where_nobody_asks_nothing_is_paid(tmp_path: Path) -> None:
    """Not even an import."""
    script = (
        "import asyncio, sys\n"
        "from sentri_events.server import open_hub\n"
        "from sentri_events.settings import Settings\n"
        "async def main():\n"
        f"    async with open_hub(Settings(database='sqlite:///{tmp_path / 'events.db'}')) as hub:\n"
        "        assert not hub.traced\n"
        "asyncio.run(main())\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_extra_a_server_says_so(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "PYTHONPATH": str(tmp_path)}
    server = ServerProcess(tmp_path, env=env)
    try:
        server.start()
        wait_until(lambda: "pip install 'sentri-events[otel]'" in server.log.read_text(), "it says what is missing")
        assert server.request("GET", "/health")[0] == 200
    finally:
        server.close()
