"""A FastAPI app whose signed-in users connect their company's HR tool."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection

from kombo_embed import EndUser, Event, KomboEmbed

# Your own database, in this example.
USERS = {"ada": {"email": "ada@northwind.example", "company": "Northwind", "company_id": "org_1"}}
PAGE = """
<title>Settings</title>
<form method="post" action="/sign-in"><button>Sign in as Ada</button></form>
<button id="connect">Connect your HR tool</button> <output></output>
<script type="module">
  import { connect } from "/kombo/kombo-embed.js";
  document.querySelector("#connect").addEventListener("click", async () => {
    const result = await connect().catch((error) => ({ status: error.code }));
    document.querySelector("output").textContent = result.integration?.tool ?? result.status;
  });
</script>
"""


async def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Tell kombo-embed who is signed in: this is all that it asks of your app."""
    user = USERS.get(connection.session.get("user", ""))
    if user is None:
        return None
    return EndUser(email=user["email"], organization_name=user["company"], origin_id=user["company_id"])


app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=secrets.token_urlsafe(), same_site="lax")
embed = KomboEmbed(end_user=current_end_user)
embed.install(app)


@embed.on("integration.connected")
async def start_first_sync(event: Event) -> None:
    """Start to work with the customer's data: `event.integration` has Kombo's id for your calls to Kombo."""
    if event.integration is not None:
        print(f"{event.integration.tool} of {event.origin_id} is connected")  # noqa: T201 - an example


@app.get("/", response_class=HTMLResponse)
async def home() -> str:
    """Show the settings page."""
    return PAGE


@app.post("/sign-in")
async def sign_in(request: Request) -> RedirectResponse:
    """Sign Ada in. Yours asks for more."""
    request.session["user"] = "ada"
    return RedirectResponse("/", status_code=303)


@app.get("/tools")
async def connected_tools(end_user: Annotated[EndUser | None, Depends(current_end_user)]) -> list[str]:
    """List what the company has connected, from your own code."""
    if end_user is None:
        raise HTTPException(401)
    return [integration.tool for integration in await embed.integrations(end_user.origin_id)]
