"""Frames a second of the sandbox's page, idle and while SMS come, in a real Chromium: ratios of one run.

    python -m benchmarks.phone [--seconds N]

The bar is 50 frames a second at 150 SMS a second, where the idle page draws 60.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import time
from itertools import count

from playwright.async_api import async_playwright

from gateway360_async import Gateway360Client
from gateway360_async.sandbox import Sandbox

from .driver import SENDER

__all__: list[str] = []

_FRAMES = """async (milliseconds) => {
  let frames = 0;
  const end = performance.now() + milliseconds;
  await new Promise((done) => {
    const frame = () => { frames += 1; performance.now() < end ? requestAnimationFrame(frame) : done(); };
    requestAnimationFrame(frame);
  });
  return frames;
}"""
_numbers = (f"346{index:08d}" for index in count())


async def _feed(client: Gateway360Client, rate: int) -> None:
    start = time.monotonic()
    async with asyncio.TaskGroup() as calls:
        for index in count(1):
            calls.create_task(client.request_pin(next(_numbers)))
            await asyncio.sleep(max(0.0, start + index / rate - time.monotonic()))


async def _measure(seconds: float) -> None:
    chromium = os.environ.get("GATEWAY360_CHROMIUM") or shutil.which("chromium")
    async with Sandbox(keep=10_000) as gateway, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        await page.goto(gateway.base_url)
        async with Gateway360Client(
            gateway.api_key, base_url=gateway.base_url, sender=SENDER, concurrency=50
        ) as client:
            for rate in (0, 20, 150):
                feeding = asyncio.create_task(_feed(client, rate)) if rate else None
                await page.wait_for_timeout(2000)
                before = len(gateway.messages)
                frames = await page.evaluate(_FRAMES, 1000 * seconds)
                came = len(gateway.messages) - before
                print(f"{came / seconds:6.0f} SMS/s  {frames / seconds:5.1f} frames/s")
                if feeding is not None:
                    feeding.cancel()
                    await asyncio.wait([feeding])
        await browser.close()


def main() -> None:
    """Measure, and print a line for each rate."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    asyncio.run(_measure(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
