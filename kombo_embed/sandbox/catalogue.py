"""The tools that can be connected (Kombo's published list), and a tile with initials for each of them.

A vendor's logo is not ours to distribute.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from kombo_embed.sandbox.schemas import Category

# White text on each of these has a contrast of at least 4.5 to 1.
_COLOURS = (
    "#b4235a", "#a3341f", "#8a4b08", "#5b6207", "#2b6b2f", "#0f6b5c",
    "#0b6680", "#1f5fa8", "#4450c4", "#6a43c0", "#8b359f", "#5a5f6d",
)  # fmt: skip
_BLACK = "#17171a"
_FONTS = "system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif"
_WORD = re.compile(r"[^\W_]+")
_CAMEL_HUMP = re.compile(r"(?<=[a-z])[A-Z]")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that customers can connect."""

    id: str
    label: str
    categories: tuple[Category, ...]

    @property
    def colour(self) -> str:
        """Return the colour of the tile."""
        number = 0  # as in frontend_snippet/src/list/logo.ts, so that the pages agree
        for letter in self.id:
            number = (number * 31 + ord(letter)) % 9973
        return _COLOURS[number % len(_COLOURS)]

    @property
    def initials(self) -> str:
        """Return one or two letters: of the first two words, of a name's humps, or the first two letters."""
        words: list[str] = _WORD.findall(self.label) or ["?"]
        if len(words) > 1:
            return (words[0][0] + words[1][0]).upper()
        hump = _CAMEL_HUMP.search(words[0])
        return (words[0][0] + hump[0]).upper() if hump else words[0][0].upper() + words[0][1:2]


@cache
def read_json(name: str) -> Any:  # noqa: ANN401 - each file has a shape of its own
    """Return the content of one of the sandbox's data files."""
    return json.loads(files("kombo_embed.sandbox").joinpath(name).read_text(encoding="utf-8"))


@cache
def catalogue() -> dict[str, Tool]:
    """Return every tool by its id, sorted by category and then by label."""
    tools = (Tool(row["id"], row["label"], tuple(row["categories"])) for row in read_json("tools.json"))
    return {tool.id: tool for tool in tools}


def find_tool(tool_id: str) -> Tool:
    """Return a tool; an unknown one has its own id as label."""
    return catalogue().get(tool_id) or Tool(tool_id, tool_id.capitalize(), ())


def tools_of(category: Category) -> list[Tool]:
    """Return the tools of one category by label."""
    tools = (tool for tool in catalogue().values() if category in tool.categories)
    return sorted(tools, key=lambda tool: tool.label.casefold())


def draw_tile(tool: Tool, *, black: bool = False) -> str:
    """Return a tool's tile as SVG."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64" role="img">'
        f"<title>{escape(tool.label)}</title>"
        f'<rect width="64" height="64" rx="14" fill="{_BLACK if black else tool.colour}"/>'
        f'<text x="32" y="33" fill="#fff" font-family="{_FONTS}"'
        ' font-size="26" font-weight="600" text-anchor="middle" dominant-baseline="central">'
        f"{escape(tool.initials)}</text></svg>"
    )
