"""What is done in the rows whose request is not sent: waiting, leaving, and using a client where it is refused."""

from __future__ import annotations

import asyncio
import os
import warnings

from scenes import OTHER, REQUEST, Scene, pass_by, until_over

import gateway360_async
from gateway360_async import Ok, PinResult, Skipped


async def behind_another(scene: Scene, step: float = 1.1, deadline: float = 30.0) -> PinResult:
    """Call while the only place is taken."""
    first = asyncio.create_task(scene.client.send(OTHER))
    await scene.gateway.wait(lambda: scene.gateway.posts == 1)
    call = asyncio.create_task(scene.client.send(REQUEST, deadline=deadline))
    try:
        await until_over(call, scene, step)
        return await call
    finally:
        first.cancel()
        await asyncio.wait((first,))


async def after_the_end_of_an_idle_connection(scene: Scene) -> PinResult:
    assert isinstance(await scene.client.send(OTHER), Ok)
    scene.gateway.requests[0].writer.close()
    await pass_by()
    return await scene.client.send(REQUEST)


async def as_the_connection_ends(scene: Scene) -> PinResult:
    """The FIN is in the kernel, and the event loop has not looked yet."""
    assert isinstance(await scene.client.send(OTHER), Ok)
    scene.gateway.requests[0].fin()
    return await scene.client.send(REQUEST)


async def behind_one_that_ends(scene: Scene) -> PinResult:
    first = asyncio.create_task(scene.client.send(OTHER))
    await scene.gateway.wait(lambda: scene.gateway.posts == 1)
    second = asyncio.create_task(scene.client.send(REQUEST))
    await asyncio.sleep(0)  # it waits now
    scene.reached.set()
    assert isinstance(await first, Ok)
    return await second


async def behind_another_past_its_deadline(scene: Scene) -> PinResult:
    return await behind_another(scene, step=3.0, deadline=2.0)


async def past_the_timeout_of_each_handshake(scene: Scene) -> PinResult:
    call = asyncio.create_task(scene.client.send(REQUEST))
    for _ in range(4):
        await scene.reached.wait()
        scene.reached.clear()
        scene.later(1.5)
    return await call


async def past_the_deadline_in_a_handshake(scene: Scene) -> PinResult:
    call = asyncio.create_task(scene.client.send(REQUEST, deadline=2.0))
    await scene.reached.wait()
    scene.later(3.0)
    return await call


async def left_in_the_handshake(scene: Scene) -> PinResult:
    """A batch is left: it says what became of what it cancelled, which an exception cannot."""
    async with scene.client.batch([REQUEST]) as batch:
        await scene.reached.wait()
    (item,) = batch.report.unconsumed
    assert not isinstance(item.result, Skipped)
    return item.result


async def when_closed(scene: Scene) -> PinResult:
    await scene.client.send(OTHER)
    await scene.client.aclose()
    return await scene.client.send(REQUEST)


async def in_another_loop(scene: Scene) -> PinResult:
    await scene.client.send(OTHER)
    return await asyncio.to_thread(asyncio.run, scene.client.send(REQUEST))


async def in_a_child(scene: Scene) -> PinResult:
    """A real fork. The child can only say by a pipe what it met, and leaves by `os._exit`."""
    await scene.client.send(OTHER)
    read, write = os.pipe()
    with warnings.catch_warnings():
        # CPython's doubt about forking beside threads is right, and no news to a test of just that.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:  # pragma: no cover
        try:
            scene.client.send(REQUEST).send(None)
        except BaseException as exc:  # noqa: BLE001  # nothing of the child's may reach pytest
            os.write(write, type(exc).__name__.encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    met = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    raise getattr(gateway360_async, met)("in the child")
