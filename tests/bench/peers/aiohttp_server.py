"""aiohttp-sse as its documentation has it: a queue and a loop per viewer; with uvloop.

`aiohttp_server.py PORT`; GET /sse/<run>, POST /emit/<run>.
"""

import asyncio
import sys
from collections import defaultdict

import uvloop
from aiohttp import web
from aiohttp_sse import sse_response

viewers: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def stream(request: web.Request) -> web.StreamResponse:
    run = request.match_info["run"]
    async with sse_response(request) as response:
        response.ping_interval = 5
        queue: asyncio.Queue[str] = asyncio.Queue()
        viewers[run].add(queue)
        try:
            await response.send('{"type":"snapshot","run":{}}')
            while response.is_connected():
                await response.send(await queue.get())
        finally:
            viewers[run].discard(queue)
    return response


async def emit(request: web.Request) -> web.Response:
    text = await request.text()
    for queue in viewers[request.match_info["run"]]:
        queue.put_nowait(text)
    return web.Response(status=204)


async def main() -> None:
    app = web.Application()
    app.router.add_get("/sse/{run}", stream)
    app.router.add_post("/emit/{run}", emit)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1]), backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
