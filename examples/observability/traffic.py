"""People who use the app: they open its page, connect tools, and let credentials expire. Ctrl-C ends it.

``python traffic.py [http://localhost:8000 [http://localhost:8001]]``: the app and the sandbox.
"""

import random
import sys
import time

import httpx

COMPANIES = 200
TOOLS = ("personio", "hibob", "bamboohr", "workday")
APP, SANDBOX = (*sys.argv[1:3], *("http://localhost:8000", "http://localhost:8001")[len(sys.argv[1:3]) :])


def visit(browser: httpx.Client, sandbox: httpx.Client) -> None:
    """Open the page a few times; connect a tool, and sometimes let its credentials expire."""
    for _ in range(random.randint(1, 4)):  # noqa: S311 - no secret
        issued = browser.post("/kombo/links", json={})
        time.sleep(0.1)
    if not issued.is_success or random.choice((True, False)):  # noqa: S311 - as above
        return
    choice = {"link": issued.json()["link"], "tool": random.choice(TOOLS)}  # noqa: S311 - as above
    completed = sandbox.post("/_sandbox/complete", json=choice).raise_for_status().json()
    browser.post("/kombo/completions", json={"activation_token": completed["activation_token"]})
    if random.randrange(3) == 0:  # noqa: S311 - as above
        change = {"integration_id": completed["integration_id"], "state": "INVALID"}
        sandbox.post("/_sandbox/state-change", json=change)


def main() -> None:
    """Visit until it is interrupted; every 20th time, Kombo is slow or fails, and a webhook is forged."""
    with httpx.Client(base_url=SANDBOX, timeout=30) as sandbox:
        number = 0
        while True:
            number += 1
            if number % 20 == 0:
                mode = random.choice(("slow", "html_503", "rate_limited"))  # noqa: S311 - no secret
                sandbox.post("/_sandbox/faults", json={"path": "create-link", "mode": mode, "times": 1})
                httpx.post(f"{APP}/kombo/webhooks", json={"id": "1", "type": "forged"})
            with httpx.Client(base_url=APP, timeout=30, headers={"Origin": APP}) as browser:
                browser.post("/sign-in", params={"company": f"company-{random.randrange(COMPANIES)}"})  # noqa: S311 - as above
                visit(browser, sandbox)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit()
