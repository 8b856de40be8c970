"""``kombo-embed magic-link``: a link to send to a customer."""

import asyncio
from typing import Annotated

import typer

from kombo_embed import EndUser, LinkOptions
from kombo_embed.cli.database import opened_embed
from kombo_embed.cli.output import AsJson, exit_on_error, fail, print_json
from kombo_embed.errors import AlreadyConnected
from kombo_embed.store.audit import COMMAND_LINE


def magic_link(  # noqa: PLR0913 - one parameter per option
    *,
    email: Annotated[str, typer.Option(help="The end user's email address.")],
    organization: Annotated[str, typer.Option(help="Your customer's name.")],
    origin_id: Annotated[str, typer.Option(help="Your customer's id in your database.")],
    category: Annotated[str | None, typer.Option(help="HRIS, ATS, ASSESSMENT or LMS.")] = None,
    tool: Annotated[str | None, typer.Option(help="Kombo's id of a tool, for example personio.")] = None,
    language: Annotated[str | None, typer.Option(help="en, de, fr, it or es.")] = None,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Also if the tool is already connected.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Mint a link that is valid for a year, to send to a customer. Anyone who has it can use it."""
    options = LinkOptions(duplicates="allow") if allow_duplicate else None

    async def mint() -> str:
        end_user = EndUser(email=email, organization_name=organization, origin_id=origin_id)
        choice = {"category": category, "tool": tool, "language": language}
        async with opened_embed(may_create=True) as embed:
            return await embed.magic_link(end_user, **choice, options=options, actor=COMMAND_LINE)

    with exit_on_error():
        try:
            link = asyncio.run(mint())
        except AlreadyConnected as error:
            fail(f"{error} To connect it a second time, pass --allow-duplicate.")
    if as_json:
        print_json({"link": link})
    else:
        typer.echo(link)
