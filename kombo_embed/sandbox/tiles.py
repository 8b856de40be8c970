"""A coloured tile with initials for each tool, since a vendor's logo is not ours to hand out."""

import re
import zlib
from html import escape

from kombo_embed.sandbox.records import Tool

# White text on each of these has a contrast of at least 4.5 to 1.
_COLOURS = (
    "#b4235a", "#a3341f", "#8a4b08", "#5b6207", "#2b6b2f", "#0f6b5c",
    "#0b6680", "#1f5fa8", "#4450c4", "#6a43c0", "#8b359f", "#5a5f6d",
)  # fmt: skip
_BLACK = "#17171a"
_FONTS = "system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif"
_WORD = re.compile(r"[^\W_]+")
_CAMEL_HUMP = re.compile(r"(?<=[a-z])[A-Z]")


def draw_tile(tool: Tool, *, black: bool = False) -> str:
    """Draw a tool's tile as SVG."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64" role="img">'
        f"<title>{escape(tool.label)}</title>"
        f'<rect width="64" height="64" rx="14" fill="{_BLACK if black else colour(tool)}"/>'
        f'<text x="32" y="33" fill="#fff" font-family="{_FONTS}"'
        ' font-size="26" font-weight="600" text-anchor="middle" dominant-baseline="central">'
        f"{escape(initials(tool.label))}</text></svg>"
    )


def colour(tool: Tool) -> str:
    """Choose a tool's colour, the same one everywhere."""
    return _COLOURS[zlib.crc32(tool.id.encode()) % len(_COLOURS)]


def initials(label: str) -> str:
    """Give one or two letters: of the first two words, of a name's humps, or the first two letters."""
    words: list[str] = _WORD.findall(label) or ["?"]
    if len(words) > 1:
        return (words[0][0] + words[1][0]).upper()
    hump = _CAMEL_HUMP.search(words[0])
    return (words[0][0] + hump[0]).upper() if hump else words[0][0].upper() + words[0][1:2]
