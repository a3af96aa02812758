"""What storing alone takes: one small SQLite transaction after another, on the disk when it returns, and no server.

`commits.py FILE RATE SECONDS RUNS`; prints the milliseconds of its transactions and the microseconds of processor time
that each takes as JSON.
"""

import json
import sqlite3
import statistics
import sys
import time


def main(file: str, rate: int, seconds: int, runs: int) -> None:
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("PRAGMA journal_mode = wal")
    database.execute("PRAGMA synchronous = full")
    database.execute("CREATE TABLE run (id TEXT PRIMARY KEY, head INTEGER)")
    database.execute("CREATE TABLE event (run TEXT, seq INTEGER, json TEXT, PRIMARY KEY (run, seq))")
    database.executemany("INSERT INTO run VALUES (?, 0)", [(f"b{number}",) for number in range(runs)])
    took = []
    worked = 0.0
    begun = time.perf_counter()
    for seq in range(1, rate * seconds + 1):
        time.sleep(max(0.0, begun + seq / rate - time.perf_counter()))
        run = f"b{seq % runs}"
        before, worked_before = time.perf_counter(), time.process_time()
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO event VALUES (?, ?, ?)", (run, seq, "x" * 200))
        database.execute("UPDATE run SET head = ? WHERE id = ?", (seq, run))
        database.execute("COMMIT")
        took.append((time.perf_counter() - before) * 1000)
        worked += time.process_time() - worked_before
    percentiles = statistics.quantiles(took, n=100)
    each = worked / len(took) * 1e6
    print(json.dumps({"p50": percentiles[49], "p99": percentiles[98], "cpu_us": each}))  # noqa: T201  its result


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
