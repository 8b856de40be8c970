"""The tools that can be connected: Kombo's published list, with the categories that they belong to."""

import json
from functools import cache
from importlib.resources import files

from kombo_embed.sandbox.records import Category, Tool


@cache
def catalogue() -> dict[str, Tool]:
    """List every tool by its id, sorted by category and then by label."""
    text = files("kombo_embed.sandbox").joinpath("tools.json").read_text(encoding="utf-8")
    tools = (Tool(row["id"], row["label"], tuple(row["categories"])) for row in json.loads(text))
    return {tool.id: tool for tool in tools}


def find_tool(tool_id: str) -> Tool:
    """Find a tool; one that the list does not know gets its own id as label."""
    return catalogue().get(tool_id) or Tool(tool_id, tool_id.capitalize(), ())


def tools_of(category: Category) -> list[Tool]:
    """List the tools of one category by label."""
    tools = (tool for tool in catalogue().values() if category in tool.categories)
    return sorted(tools, key=lambda tool: tool.label.casefold())
