"""Draws the sequence diagrams of the pages: ``python -m docs.diagrams.draw``. The results are committed."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent
WIDTH, LEFT, TOP, STEP = 760, 110, 64, 40
STYLE = (
    ":root{--ink:#1f2933;--soft:#52606d;--line:#9aa5b1;--card:#f8fafb;--accent:#0b5c56}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--soft:#b0bac5;--line:#616e7c;"
    "--card:#1c2227;--accent:#7dd3c8}}"
    "text{font:13px system-ui,sans-serif;fill:var(--ink)}"
    "text{stroke:var(--card);stroke-width:4;paint-order:stroke}"
    ".who{font-weight:600}.note{fill:var(--soft)}"
    ".card{fill:var(--card)}.life{stroke:var(--line);stroke-dasharray:3 4}"
    ".arrow{stroke:var(--accent);stroke-width:1.5}"
    ".head{fill:var(--accent)}"
)


@dataclass(frozen=True, slots=True)
class Message:
    """An arrow from one participant to another; a note if both are the same."""

    sender: int
    receiver: int
    text: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """A sequence diagram."""

    title: str
    participants: tuple[str, ...]
    messages: tuple[Message, ...]


CONNECT = Diagram(
    "A customer connects a tool",
    ("Browser", "Your app", "Kombo"),
    (
        Message(0, 1, "click: POST /kombo/links"),
        Message(1, 1, "who is signed in? is a link cached?"),
        Message(1, 2, "POST /connect/create-link, if none is"),
        Message(2, 1, "a link, valid for an hour"),
        Message(1, 0, "the link"),
        Message(0, 2, "the dialog opens: a tool, its credentials"),
        Message(2, 0, "activation token"),
        Message(0, 1, "POST /kombo/completions"),
        Message(1, 2, "GET /integration-by-token"),
        Message(2, 1, "the integration, and whose it is"),
        Message(1, 1, "this customer's? record it once"),
        Message(1, 0, "201, the integration"),
        Message(2, 1, "webhook integration-created"),
        Message(1, 1, "verified; the same record"),
    ),
)
STAMPEDE = Diagram(
    "Three requests, two processes, one call",
    ("Tab 1", "Tab 2", "Process A", "Process B", "Redis", "Kombo"),
    (
        Message(0, 2, "POST /links"),
        Message(2, 4, "no link; lease taken"),
        Message(1, 3, "POST /links"),
        Message(3, 4, "no link; A has the lease"),
        Message(2, 5, "create-link"),
        Message(5, 2, "link"),
        Message(2, 4, "store the link, release"),
        Message(2, 0, "link"),
        Message(4, 3, "link"),
        Message(3, 1, "the same link"),
    ),
)
DELIVERY = Diagram(
    "An event reaches a handler",
    ("Kombo", "Your app", "Database", "Handler"),
    (
        Message(0, 1, "webhook"),
        Message(1, 2, "one transaction: record and event"),
        Message(1, 0, "204: it is on disk"),
        Message(1, 2, "lease the delivery"),
        Message(1, 3, "call"),
        Message(3, 1, "raises"),
        Message(1, 2, "due again later"),
        Message(1, 3, "call again"),
        Message(3, 1, "returns"),
        Message(1, 2, "delivered"),
    ),
)
DIAGRAMS = {"connect": CONNECT, "stampede": STAMPEDE, "delivery": DELIVERY}


def draw(diagram: Diagram) -> str:
    """Return a diagram as SVG, in the colours of the reader's light or dark scheme."""
    gap = (WIDTH - 2 * LEFT) / (len(diagram.participants) - 1)
    height = TOP + STEP * (len(diagram.messages) + 1)
    columns = [LEFT + gap * index for index in range(len(diagram.participants))]
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(diagram.title)}</title><style>{STYLE}</style>",
        f'<rect class="card" width="{WIDTH}" height="{height}" rx="8"/>',
    ]
    for x, name in zip(columns, diagram.participants, strict=True):
        parts.append(f'<line class="life" x1="{x:g}" y1="44" x2="{x:g}" y2="{height - 16}"/>')
        parts.append(f'<text class="who" x="{x:g}" y="32" text-anchor="middle">{escape(name)}</text>')
    for row, message in enumerate(diagram.messages, 1):
        parts += _message(message, columns, y=TOP + STEP * row - 12)
    return "\n".join([*parts, "</svg>\n"])


def _message(message: Message, columns: list[float], *, y: float) -> list[str]:
    start, end = columns[message.sender], columns[message.receiver]
    text = escape(message.text)
    if start == end:
        return [
            f'<circle class="head" cx="{start:g}" cy="{y:g}" r="3.5"/>',
            f'<text class="note" x="{start + 10:g}" y="{y + 4:g}">{text}</text>',
        ]
    direction = 1 if end > start else -1
    tip = end - direction * 2
    head = f"{tip:g},{y:g} {tip - direction * 8:g},{y - 4:g} {tip - direction * 8:g},{y + 4:g}"
    return [
        f'<line class="arrow" x1="{start:g}" y1="{y:g}" x2="{tip:g}" y2="{y:g}"/>',
        f'<polygon class="head" points="{head}"/>',
        f'<text x="{(start + end) / 2:g}" y="{y - 6:g}" text-anchor="middle">{text}</text>',
    ]


if __name__ == "__main__":
    for name, diagram in DIAGRAMS.items():
        (FOLDER / f"{name}.svg").write_text(draw(diagram), encoding="utf-8")
