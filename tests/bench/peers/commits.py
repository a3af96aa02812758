"""What storing alone takes: one small SQLite transaction after another, on the disk when it returns, and no server.

`commits.py FILE RATE SECONDS`; prints the milliseconds of its transactions as JSON.
"""

import json
import sqlite3
import statistics
import sys
import time


def main(file: str, rate: int, seconds: int) -> None:
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("PRAGMA journal_mode = wal")
    database.execute("PRAGMA synchronous = full")
    database.execute("CREATE TABLE run (id TEXT PRIMARY KEY, head INTEGER)")
    database.execute("CREATE TABLE event (run TEXT, seq INTEGER, json TEXT, PRIMARY KEY (run, seq))")
    database.execute("INSERT INTO run VALUES ('b0', 0)")
    took = []
    begun = time.perf_counter()
    for seq in range(1, rate * seconds + 1):
        time.sleep(max(0.0, begun + seq / rate - time.perf_counter()))
        before = time.perf_counter()
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO event VALUES ('b0', ?, ?)", (seq, "x" * 200))
        database.execute("UPDATE run SET head = ? WHERE id = 'b0'", (seq,))
        database.execute("COMMIT")
        took.append((time.perf_counter() - before) * 1000)
    percentiles = statistics.quantiles(took, n=100)
    print(json.dumps({"p50": percentiles[49], "p99": percentiles[98]}))  # noqa: T201  its result


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
