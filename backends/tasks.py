"""Tasks that go on side by side and end together.

Not an asyncio.TaskGroup: cancelled while one of its tasks fails, that raises the failure and forgets the cancellation
(python/cpython#116720, mended in Python 3.13), and who reconnects after every failure would never end.
"""

import asyncio
from collections.abc import Coroutine


async def until_one_ends(*coroutines: Coroutine[None, None, None]) -> None:
    """Returns when one has ended, and the others are cancelled; raises what it raised. A cancellation comes through."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
