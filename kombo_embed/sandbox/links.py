"""Minting links and finding them again, until they expire."""

import secrets
import string
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

from kombo_embed.sandbox.catalogue import catalogue
from kombo_embed.sandbox.errors import InputInvalid, LinkExpired, LinkUnknown
from kombo_embed.sandbox.records import Link, LinkTerms, State, forget_oldest, new_jwt_lookalike
from kombo_embed.sandbox.schemas import LinkType

# docs.kombo.dev/connect/embedded-flow and docs.kombo.dev/connect/magic-links
LIFETIMES: dict[LinkType, timedelta] = {"EMBEDDED": timedelta(hours=1), "MAGIC_LINK": timedelta(days=365)}
DEFAULT_TOOL = "personio"
_ALPHANUMERIC = string.ascii_letters + string.digits
# The payload of the JWT in Kombo's documentation is a sentence and no JSON, too.
_PAYLOAD = b"There is nothing to read in here: a connection link is opaque, even where it looks like a JWT."


class Links:
    """The minted links, by their tokens.

    Methods raise `LinkUnknown`, `LinkExpired`, or `InputInvalid` if a tool is refused or not the link's own.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def mint(self, terms: LinkTerms, base_url: str) -> Link:
        """Mint a link; the same terms give a new link each time."""
        if terms.tool is not None:
            self._check_tool(terms.tool)
        now = self._state.now()
        link = Link(self._new_token(), base_url, terms, now, expires_at=now + LIFETIMES[terms.link_type])
        self._state.links[link.token] = link
        forget_oldest(self._state.links, is_over=lambda known: known.expires_at <= now)
        return link

    def find_open(self, address: str) -> Link:
        """Return an unexpired link."""
        link = self.find(address)
        self.check_open(link)
        return link

    def find(self, address: str) -> Link:
        """Return a link by its token or by its address, with whatever parameters the browser SDK added."""
        query = parse_qs(urlsplit(address).query)
        link = self._state.links.get(query.get("token", [address])[0])
        if link is None:
            raise LinkUnknown("This link was not made by this sandbox, or the sandbox was reset since.")
        return link

    def check_open(self, link: Link) -> None:
        """Reject an expired link."""
        if self._state.now() >= link.expires_at:
            raise LinkExpired(f"This {link.terms.link_type} link has expired.")

    def choose_tool(self, link: Link, tool: str | None) -> str:
        """Return the tool that a flow connects: the link's own, or the chosen one, or Personio."""
        if link.terms.tool and tool not in (None, link.terms.tool):
            raise InputInvalid(f"This link is for {link.terms.tool}, not for {tool}.")
        chosen = link.terms.tool or tool or DEFAULT_TOOL
        self._check_tool(chosen)
        return chosen

    def _check_tool(self, tool: str) -> None:
        if self._state.switches.unknown_tools == "refuse" and tool not in catalogue():
            raise InputInvalid(f"integration_tool {tool!r} is not a known tool.")

    def _new_token(self) -> str:
        # Kombo documents both shapes: a JWT for create-link, 48 characters for setup-link.
        if self._state.switches.link_shape == "opaque":
            return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(48))
        return new_jwt_lookalike(_PAYLOAD)
