"""Target 17: from a click to the navigation of Kombo's frame, in Chromium, with and without a prefetch."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from benchmarks.bench import Bench
from benchmarks.processes import LOOPBACK, NotInstalled
from benchmarks.report import Bound, Line, spread
from benchmarks.requests import session_cookie

if TYPE_CHECKING:
    from playwright.async_api import Page

DELAY_MS = 400  # of the fake Kombo
BOUNDS: dict[bool, Bound] = {True: ("<=", 50), False: ("<=", 450)}
# Kombo's page fails to load. If Playwright answered for it, the page's requests would pass through Python.
FLAGS = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
# The frame navigates when Kombo's SDK inserts it.
CLICK = """async (prefetches) => {
  const kombo = await import("/kombo/kombo-embed.js");
  if (prefetches) await kombo.prefetch();
  const ending = new AbortController();
  const inserted = new Promise((resolve) => {
    const observer = new MutationObserver(() => {
      if (document.querySelector("iframe")?.src) resolve(performance.now());
    });
    observer.observe(document, { childList: true, subtree: true });
  });
  const button = document.body.appendChild(document.createElement("button"));
  let clickedAt;
  button.addEventListener("click", () => {
    clickedAt = performance.now();
    void kombo.connect({ signal: ending.signal }).catch(() => undefined);
  });
  button.click();
  const milliseconds = (await inserted) - clickedAt;
  document.querySelector("iframe").remove();
  return milliseconds;
}"""


async def measure_clicks(bench: Bench) -> list[Line]:
    """Click in a new browser context for each end user, alternating between the two."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        raise NotInstalled("Chromium")
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - only this target needs it
    except ModuleNotFoundError:
        raise NotInstalled("playwright") from None
    app = await bench.server("apps:mounted", KOMBO_API_URL=bench.upstream_url("clicks", delay_ms=DELAY_MS))
    measured: dict[bool, list[float]] = {True: [], False: []}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        for number in range(2 * (bench.effort.rounds + 1)):
            context = await browser.new_context(extra_http_headers=session_cookie(number))
            page = await context.new_page()
            await page.goto(f"http://{LOOPBACK}:{app.port}/kombo/health")
            milliseconds = await _click(page, prefetches=number % 2 == 0)
            if number > 1:  # the first of each warms up
                measured[number % 2 == 0].append(milliseconds)
            await context.close()
        await browser.close()
    what = {True: "with a prefetch", False: "without"}
    return [
        Line(
            17,
            f"click to the frame's navigation, upstream {DELAY_MS} ms, {what[prefetches]}",
            BOUNDS[prefetches],
            spread(times),
            unit="ms",
        )
        for prefetches, times in measured.items()
    ]


async def _click(page: Page, *, prefetches: bool) -> float:
    return float(await page.evaluate(CLICK, prefetches))
