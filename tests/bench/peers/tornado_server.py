"""Tornado in the plain way: `write` and `flush` for each viewer, a PeriodicCallback each; with uvloop.

It decodes events as ours does, and a body may be NDJSON, so it is also what ingest without a store is compared with.

`tornado_server.py PORT`; GET /sse/<run>, POST /emit/<run>.
"""

import asyncio
import sys
from collections import defaultdict

import msgspec
import uvloop
from tornado.ioloop import PeriodicCallback
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

viewers: defaultdict[str, set["Stream"]] = defaultdict(set)
decode = msgspec.json.decode
encode = msgspec.json.encode


class Stream(RequestHandler):
    async def get(self, run: str) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        self.closed = asyncio.Event()
        self.tell(b'{"type":"snapshot","run":{}}')
        viewers[run].add(self)
        beat = PeriodicCallback(self.beat, 5000)
        beat.start()
        try:
            await self.closed.wait()
        finally:
            beat.stop()
            viewers[run].discard(self)

    def tell(self, data: bytes) -> None:
        self.write(b"data: %b\n\n" % data)
        self._flush()

    def beat(self) -> None:
        self.write(b": heartbeat\n\n")
        self._flush()

    def _flush(self) -> None:
        try:
            self.flush()
        except StreamClosedError:
            self.closed.set()

    def on_connection_close(self) -> None:
        self.closed.set()


class Emit(RequestHandler):
    def post(self, run: str) -> None:
        lines = self.request.body.split(b"\n")
        for line in lines:
            event = decode(line)
            if not isinstance(event, dict) or not isinstance(event.get("type"), str):
                self.send_error(422)
                return
            data = encode(event)
            for viewer in list(viewers[run]):
                viewer.tell(data)
        self.set_status(201)
        self.set_header("Content-Type", "application/json")
        self.write(encode({"runId": run, "first": 1, "last": len(lines)}))


async def main() -> None:
    app = Application([(r"/sse/(\w+)", Stream), (r"/emit/(\w+)", Emit)], log_function=lambda handler: None)
    app.listen(int(sys.argv[1]), "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
