"""What Prometheus reads: true numbers under lasting names, of all processes at once."""

import asyncio
import os
import re
import signal
import sqlite3
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from sentri_events.meter import ENDS
from sentri_events.metric_table import FAMILIES, PREFIX
from tests.embedded import Embedded
from tests.raw import Answer, Connection, Stream, ask
from tests.redis_server import RedisServer
from tests.server_process import PROCESSES, ServerProcess, wait_until
from tests.tokens import SECRET, bearer, token


def scrape(port: int, prefix: str = "") -> dict[str, float]:
    """Every sample, by its name and labels as they are written."""
    answer = ask(port, "GET", f"{prefix}/metrics")
    assert answer.status == 200, answer
    samples = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            name = sample.name.removeprefix(PREFIX) + (f"{{{labels}}}" if labels else "")
            assert name not in samples
            samples[name] = sample.value
    return samples


def publish(port: int, run: str, *events: Mapping[str, object], query: str = "") -> Answer:
    return ask(port, "POST", f"/api/v1/runs/{run}/events{query}", list(events))


def make_run(port: int) -> str:
    return str(ask(port, "POST", "/api/v1/runs", {"projectId": "web"}).json["id"])


def test_events_in_and_out_are_counted(tmp_path: Path) -> None:
    """Two viewers, three durable events and a volatile one. Mutants caught: `delivered` counted once a cycle instead of
    once a viewer; the bytes of streams only at their end; the lag never observed."""
    with Embedded(tmp_path) as server:
        run = make_run(server.port)
        with Stream(server.port, run) as one, Stream(server.port, run) as other:
            beginning = len(one.block()), len(other.block())
            before = scrape(server.port)
            publish(server.port, run, {"type": "log", "message": "a"}, {"type": "log", "message": "b"})
            publish(server.port, run, {"type": "x"}, query="?volatile=1")
            publish(server.port, run, {"type": "done", "status": "completed"})
            told = sum(len(block) for stream in (one, other) for block in stream.rest())
            after = scrape(server.port)
        assert before["streams_open"] == before["viewers"] == 2
        assert before["stream_bytes_total"] > sum(beginning)
        assert before["delivered_events_total"] == 0
        assert after['published_events_total{kind="durable"}'] == 3
        assert after['published_events_total{kind="volatile"}'] == 1
        assert after["published_bytes_total"] == sum(
            map(len, ['{"type":"log","message":"a"}'] * 2 + ['{"type":"x"}', '{"type":"done","status":"completed"}'])
        )
        assert after["delivered_events_total"] == 8
        assert after["viewers"] == 0
        assert after["stream_bytes_total"] - before["stream_bytes_total"] > told
        assert 1 <= after["delivery_lag_seconds_count"] <= 3
        assert 0 < after["delivery_lag_seconds_sum"] < 20
        assert after["store_transaction_events_sum"] == 3
        assert after["store_transaction_seconds_count"] > after["store_transaction_events_count"]
        assert after['runs{status="running"}'] + after['runs{status="completed"}'] == 1
        ended = 'streams_closed_total{reason="ended"}'
        wait_until(lambda: scrape(server.port)[ended] == 2, "both streams are closed")
        assert scrape(server.port)["streams_open"] == 0


def test_buckets_hold_all_that_is_not_more(tmp_path: Path) -> None:
    """Mutant caught: the counts of the buckets are not added up."""
    with Embedded(tmp_path) as server:
        run = make_run(server.port)
        for size in (1, 3, 3, 200):
            publish(server.port, run, *({"type": "log", "message": "x"} for _ in range(size)))
        samples = scrape(server.port)
        buckets = {
            bound: samples[f'store_transaction_events_bucket{{le="{bound}"}}'] for bound in ("1.0", "2.0", "5.0")
        }
        assert buckets == {"1.0": 1, "2.0": 1, "5.0": 3}
        assert samples['store_transaction_events_bucket{le="100.0"}'] == 3
        assert samples['store_transaction_events_bucket{le="+Inf"}'] == samples["store_transaction_events_count"] == 4


def test_who_comes_back_catches_up(tmp_path: Path) -> None:
    """Mutant caught: whoever joins behind the head counts as new."""
    with Embedded(tmp_path) as server:
        run = make_run(server.port)
        publish(server.port, run, *({"type": "log", "message": "x"} for _ in range(10)))
        with Stream(server.port, run, "lastEventId=4") as viewer:
            viewer.blocks(6)
        with Stream(server.port, run, "lastEventId=44") as viewer:
            viewer.blocks(2)
        samples = scrape(server.port)
        assert samples['catch_ups_total{cause="returned"}'] == 1
        assert samples['catch_ups_total{cause="new"}'] == 0
        assert samples["catch_up_reads_total"] == 1
        assert samples["delivered_events_total"] == 6
        assert samples['resets_total{reason="future"}'] == 1
        wait_until(lambda: scrape(server.port)['streams_closed_total{reason="left"}'] == 2, "both have left")


def test_a_reader_that_takes_nothing_is_counted_as_such(tmp_path: Path) -> None:
    """It falls behind, and is closed in the end. Mutant caught: what it was not given counts as delivered."""
    with Embedded(tmp_path, stall_timeout=1, heartbeat=0.1) as server:
        run = make_run(server.port)
        with Stream(server.port, run) as viewer:
            viewer.block()
            sent = 0
            while scrape(server.port)['catch_ups_total{cause="slow"}'] == 0:
                publish(server.port, run, *({"type": "log", "message": "x" * 50_000} for _ in range(100)))
                sent += 100
            wait_until(lambda: scrape(server.port)['streams_closed_total{reason="stalled"}'] == 1, "it is cut")
        assert 0 < scrape(server.port)["delivered_events_total"] < sent


def test_refusals_are_counted_by_reason(tmp_path: Path) -> None:
    with Embedded(tmp_path) as server:
        run = make_run(server.port)
        publish(server.port, run, {"type": "log"}, {"nothing": 1})
        ask(server.port, "POST", f"/api/v1/runs/{run}/events", b"{")
        ask(server.port, "GET", "/api/v1/runs/none")
        ask(server.port, "DELETE", "/metrics")
        publish(server.port, run, {"type": "done", "status": "failed"})
        publish(server.port, run, {"type": "log"})
        samples = scrape(server.port)
        refused = {
            reason: samples[f'refused_requests_total{{reason="{reason}"}}']
            for reason in ("invalid", "bad_request", "not_found", "conflict", "other", "failed")
        }
        assert refused == {"invalid": 1, "bad_request": 1, "not_found": 1, "conflict": 1, "other": 1, "failed": 0}


def test_a_store_that_cannot_be_written_shows(server: ServerProcess) -> None:
    """Mutant caught: `down` is never true. Reading goes on, so the runs are still counted."""
    run = server.make_run()
    other = sqlite3.connect(server.database, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        assert publish(server.port, run, {"type": "log"}).status == 503
        samples = scrape(server.port)
        assert samples["store_down"] == 1
        assert samples["store_failures_total"] >= 1
        assert samples['refused_requests_total{reason="unavailable"}'] == 1
        assert samples['runs{status="running"}'] == 1
    finally:
        other.close()
    wait_until(lambda: publish(server.port, run, {"type": "log"}).status == 201, "the store is there again")
    assert scrape(server.port)["store_down"] == 0


def test_names_and_labels_are_as_prometheus_wants_them(server: ServerProcess) -> None:
    """Counters end in _total, units are base units, and every label has few values: nothing that a user can choose."""
    server.make_run(project="secret-project", id="secret-run")
    publish(server.port, "secret-run", {"type": "secret-type"})
    answer = ask(server.port, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert b"secret" not in answer.body
    families = list(text_string_to_metric_families(answer.body.decode()))
    assert len(families) > len(FAMILIES)
    for family in families:
        assert re.fullmatch(r"(sentri_events|process)_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        assert len({tuple(sample.labels.values()) for sample in family.samples}) <= 32
        if family.type == "histogram":
            assert re.search("_(seconds|events)$", family.name)
    openmetrics = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = ask(server.port, "GET", "/metrics", headers=openmetrics)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


def test_below_a_prefix(tmp_path: Path) -> None:
    with Embedded(tmp_path, prefix="/events") as server:
        assert scrape(server.port, "/events")["processes"] == 1
        assert ask(server.port, "GET", "/events/metrics").headers["cache-control"] == "no-store"


def test_redis_that_goes_away_shows(tmp_path: Path, redis: RedisServer) -> None:
    with Embedded(tmp_path, redis_url=redis.url) as server:
        assert scrape(server.port)["backend_down"] == 0
        asyncio.run(redis.kill())
        wait_until(lambda: scrape(server.port)["backend_down"] == 1, "it is noticed")
        assert scrape(server.port)["backend_outages_total"] == 1
        publish(server.port, make_run(server.port), {"type": "log"})
        assert scrape(server.port)["backend_published_events_total"] == 1


def test_one_process_answers_for_all(fleet: ServerProcess) -> None:
    """Whichever is asked. A child dies: its counts stay, its streams go, and no counter falls.

    Mutants caught: a row is begun anew with its process; the gauges of a dead process are kept; a process copies its
    numbers only when it is asked.
    """
    run = fleet.make_run()
    viewers = [Stream(fleet.port, run) for _ in range(12)]
    for viewer in viewers:
        viewer.block()
    for _ in range(30):
        assert publish(fleet.port, run, {"type": "log", "message": "x"}).status == 201
    for viewer in viewers:
        viewer.blocks(30)

    def told() -> dict[str, float] | None:
        samples = scrape(fleet.port)
        return samples if samples["delivered_events_total"] == 360 else None

    before = wait_until(told, "the sum holds what every process did")
    assert before["processes"] == PROCESSES
    assert before["streams_open"] == 12
    assert before['published_events_total{kind="durable"}'] == 30
    cpu = {f'process_cpu_seconds_total{{process="{place}"}}' for place in range(PROCESSES)}
    assert cpu <= set(before)
    assert sum(before[name] for name in cpu) > 0

    children = Path(f"/proc/{fleet.pid}/task/{fleet.pid}/children")
    busiest = max(range(PROCESSES), key=lambda place: before[f'process_open_fds{{process="{place}"}}'])
    victim = int(children.read_text().split()[busiest])
    os.kill(victim, signal.SIGKILL)
    seen = [before]

    def replaced() -> bool:
        samples = scrape(fleet.port)
        seen.append(samples)
        pids = children.read_text().split()
        return (
            len(pids) == PROCESSES and str(victim) not in pids and samples["streams_open"] < 12 and cpu <= set(samples)
        )

    wait_until(replaced, "another one has its place and has let go of its streams")
    for earlier, later in pairwise(seen):
        assert all(later[name] >= earlier[name] for name in earlier if "_total" in name and name not in cpu)
    assert seen[-1]["delivered_events_total"] == 360
    for viewer in viewers:
        viewer.connection.socket.close()


def test_what_is_asked_comes_from_this_very_moment(tmp_path: Path) -> None:
    """A connection that is kept: each answer has all that was answered before. Mutant caught: copied by time only."""
    with Embedded(tmp_path) as server:
        run = make_run(server.port)
        with Connection(server.port) as connection:
            for number in range(1, 4):
                publish(server.port, run, {"type": "log"})
                connection.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                body = connection.answer().body.decode()
                assert f'{PREFIX}published_events_total{{kind="durable"}} {number}.0' in body


def test_why_a_stream_was_closed(tmp_path: Path) -> None:
    """By the server: with its run, by an admin, with its token. Caught: whatever the server ends has ended in order."""
    server = ServerProcess(tmp_path, env={"JWT_SECRET": SECRET})
    admin = bearer(token(role="admin"))

    def closed() -> dict[str, float]:
        body = ask(server.port, "GET", "/metrics", headers=admin).body.decode()
        return {why: float(re.findall(rf'streams_closed_total{{reason="{why}"}} (\S+)', body)[0]) for why in ENDS}

    try:
        server.start()
        ask(server.port, "POST", "/api/v1/projects", {"id": "web"}, admin)
        run = ask(server.port, "POST", "/api/v1/runs", {"projectId": "web"}, admin).json["id"]
        with Stream(server.port, run, headers=bearer(token(lifetime=2))) as viewer:
            assert b"token expired" in viewer.rest()[-1]
        with Stream(server.port, run, headers=admin) as viewer:
            viewer.block()
            (stream,) = ask(server.port, "GET", "/api/v1/admin/streams", headers=admin).json["data"]
            ask(server.port, "DELETE", f"/api/v1/admin/streams/{stream['id']}", headers=admin)
            viewer.rest()
        with Stream(server.port, run, headers=admin) as viewer:
            ask(server.port, "POST", f"/api/v1/runs/{run}/events", {"type": "done", "status": "failed"}, admin)
            viewer.rest()
        wanted = {**dict.fromkeys(ENDS, 0), "ended": 1, "away": 1, "dismissed": 1}
        wait_until(lambda: closed() == wanted, "all are closed")
    finally:
        server.close()
