"""The links that were made, until their time is over."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

from kombo_embed.sandbox.clock import MovableClock
from kombo_embed.sandbox.errors import InputInvalid, LinkExpired, LinkUnknown
from kombo_embed.sandbox.identifiers import new_link_token
from kombo_embed.sandbox.records import Link, LinkTerms, LinkType
from kombo_embed.sandbox.state import State
from kombo_embed.sandbox.tools import catalogue

# docs.kombo.dev/connect/embedded-flow and docs.kombo.dev/connect/magic-links
LIFETIMES: dict[LinkType, timedelta] = {"EMBEDDED": timedelta(hours=1), "MAGIC_LINK": timedelta(days=365)}
DEFAULT_TOOL = "personio"


class Links:
    """Mints links and finds them again by their address."""

    def __init__(self, state: State, clock: MovableClock) -> None:
        self._state = state
        self._clock = clock

    def mint(self, terms: LinkTerms, base_url: str) -> Link:
        """Make a link; the same terms give a new link each time.

        Raises:
            InputInvalid: the tool is unknown and unknown tools are switched to `refuse`.
        """
        if terms.tool is not None:
            self.check_tool(terms.tool)
        now = self._clock.now()
        link = Link(
            token=new_link_token(opaque=self._state.switches.link_shape == "opaque"),
            base_url=base_url,
            terms=terms,
            created_at=now,
            expires_at=now + LIFETIMES[terms.link_type],
        )
        self._state.links[link.token] = link
        return link

    def find(self, address: str) -> Link:
        """Find an open link by its address, with whatever the browser SDK added to it, or by its token.

        Raises:
            LinkUnknown: no such link was made here, or it was forgotten by a reset.
            LinkExpired: its lifetime is over.
        """
        link = self.look_up(address)
        self.check_open(link)
        return link

    def look_up(self, address: str) -> Link:
        """Find a link, be it open or expired.

        Raises:
            LinkUnknown: no such link was made here, or it was forgotten by a reset.
        """
        query = parse_qs(urlsplit(address).query)
        link = self._state.links.get(query.get("token", [address])[0])
        if link is None:
            raise LinkUnknown("This link was not made by this sandbox, or the sandbox was reset since.")
        return link

    def check_open(self, link: Link) -> None:
        """Refuse a link whose time is over.

        Raises:
            LinkExpired: its lifetime is over.
        """
        if self._clock.now() >= link.expires_at:
            raise LinkExpired(f"This {link.terms.link_type} link has expired.")

    def choose_tool(self, link: Link, tool: str | None) -> str:
        """Settle which tool a flow is about: the link's own, or the chosen one, or Personio.

        Raises:
            InputInvalid: the link is for another tool, or the tool is unknown and refused.
        """
        if link.terms.tool and tool not in (None, link.terms.tool):
            raise InputInvalid(f"This link is for {link.terms.tool}, not for {tool}.")
        chosen = link.terms.tool or tool or DEFAULT_TOOL
        self.check_tool(chosen)
        return chosen

    def check_tool(self, tool: str) -> None:
        """Refuse an unknown tool where unknown tools are switched to `refuse`.

        Raises:
            InputInvalid: the tool is unknown and refused.
        """
        if self._state.switches.unknown_tools == "refuse" and tool not in catalogue():
            raise InputInvalid(f"integration_tool {tool!r} is not a known tool.")
