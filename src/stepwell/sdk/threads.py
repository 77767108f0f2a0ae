"""Threads for plain code called from async code, and one event loop for async code called from plain code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from stepwell.limits import CALLS_PER_APP_MAX

T = TypeVar("T")

# As many as a server calls one app at a time, so that steps which take minutes don't keep the others waiting. They are of
# our own: asyncio's default pool is small, and shared with all of the app.
THREADS_MAX: Final = CALLS_PER_APP_MAX


_lock: Final = threading.Lock()


@functools.cache
def _pool(_pid: int) -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="stepwell")


@functools.cache
def _loop(_pid: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="stepwell-loop", daemon=True).start()
    return loop


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """Run plain code in a thread, in a copy of this context."""
    run = contextvars.copy_context().run
    # The process id in the key: threads don't survive a fork.
    with _lock:
        pool = _pool(os.getpid())
    return await asyncio.get_running_loop().run_in_executor(pool, functools.partial(run, call, *args))


def in_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run async code in the process's background loop and block until it is done.

    One loop for all calls, so that what async code keeps (connection pools, say) stays usable from call to call.
    """
    with _lock:
        loop = _loop(os.getpid())
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


def wait_in(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[T]) -> T:
    """Block this thread until an awaitable is done in a loop that runs in another."""
    return asyncio.run_coroutine_threadsafe(_awaited(awaitable), loop).result()


def wait(awaitable: Awaitable[T]) -> T:
    """Block this thread until an awaitable is done in the process's background loop."""
    return in_loop(_awaited(awaitable))


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
