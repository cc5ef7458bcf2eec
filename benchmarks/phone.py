"""Frames a second of the sandbox's page, idle and while SMS come, in a real Chromium: ratios of one run.

    python -m benchmarks.phone [--seconds N]

The bar is 50 frames a second at 150 SMS a second, where the idle page draws 60.
"""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count

from playwright.async_api import async_playwright

from gateway360_async import Gateway360Client
from gateway360_async.sandbox import Sandbox

from . import SENDER, number
from .report import bounded, options, print_bars

_FRAMES = """async (milliseconds) => {
  let frames = 0;
  const end = performance.now() + milliseconds;
  await new Promise((done) => {
    const frame = () => { frames += 1; performance.now() < end ? requestAnimationFrame(frame) : done(); };
    requestAnimationFrame(frame);
  });
  return frames;
}"""


async def _feed(client: Gateway360Client, rate: int, numbers: Iterator[str]) -> None:
    start = time.monotonic()
    async with asyncio.TaskGroup() as calls:
        for index in count(1):
            calls.create_task(client.request_pin(next(numbers)))
            await asyncio.sleep(max(0.0, start + index / rate - time.monotonic()))


async def _measure(seconds: float) -> None:
    chromium = os.environ.get("GATEWAY360_CHROMIUM") or shutil.which("chromium")
    numbers = map(number, count())
    async with Sandbox() as gateway, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        await page.goto(gateway.base_url)
        async with Gateway360Client(
            gateway.api_key, base_url=gateway.base_url, sender=SENDER, concurrency=50
        ) as client:
            frames = 0.0
            for rate in (0, 20, 150):
                feeding = asyncio.create_task(_feed(client, rate, numbers)) if rate else None
                await page.wait_for_timeout(2000)
                before = len(gateway.messages)
                frames = await page.evaluate(_FRAMES, 1000 * seconds) / seconds
                came = len(gateway.messages) - before
                print(f"{came / seconds:6.0f} SMS/s  {frames:5.1f} frames/s")
                if feeding is not None:
                    feeding.cancel()
                    await asyncio.wait([feeding])
            print_bars([bounded(f"the page at {rate} SMS/s", 50.0, "frames/s", [frames])])
        await browser.close()


def main(words: Sequence[str]) -> int:
    asyncio.run(_measure(options("benchmarks.phone", __doc__, words, seconds=4.0).seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
