"""sse-starlette as its documentation has it: a queue and a generator per viewer; on uvicorn with uvloop.

`starlette_server.py PORT`; GET /sse/<run>, POST /emit/<run>.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

viewers: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def stream(request: Request) -> Response:
    run = request.path_params["run"]

    async def events() -> AsyncIterator[dict[str, str]]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        viewers[run].add(queue)
        try:
            yield {"data": '{"type":"snapshot","run":{}}'}
            while True:
                yield {"data": await queue.get()}
        finally:
            viewers[run].discard(queue)

    return EventSourceResponse(events(), ping=5)


async def emit(request: Request) -> Response:
    text = (await request.body()).decode()
    for queue in viewers[request.path_params["run"]]:
        queue.put_nowait(text)
    return Response(status_code=204)


app = Starlette(routes=[Route("/sse/{run}", stream), Route("/emit/{run}", emit, methods=["POST"])])

if __name__ == "__main__":
    port = int(sys.argv[1])
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", backlog=4096, access_log=False, log_level="warning")
