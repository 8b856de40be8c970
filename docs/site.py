"""What the site adds to Sphinx: links into the checkout, Markdown beside each page, and ``llms.txt``.

The pages are written to be read in a checkout, too. So they link to files, also outside of this folder, and
the READMEs of other folders are pages of the site as they are.
"""

from __future__ import annotations

import re
from os.path import relpath
from pathlib import Path

from docutils.io import StringOutput
from sphinx.application import Sphinx
from sphinx.builders.text import TextBuilder
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.text import TextWriter

DOCS = Path(__file__).parent
ROOT = DOCS.parent
# Files outside of this folder that are pages here.
PAGES = {
    ROOT / "CHANGELOG.md": DOCS / "changelog.md",
    ROOT / "CONTRIBUTING.md": DOCS / "contributing.md",
    ROOT / "SECURITY.md": DOCS / "reporting.md",
    ROOT / "README.md": DOCS / "index.md",
    ROOT / "examples" / "README.md": DOCS / "examples.md",
    ROOT / "frontend_snippet" / "README.md": DOCS / "reference" / "browser.md",
}
INCLUDED = re.compile(r"```\{include\} (\S+)\n```")
CODE = re.compile(r"^( *)```\{literalinclude\} (\S+)\n((?: *:[\w-]+:.*\n)*) *```$", re.MULTILINE)
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")
WHOLE_LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\((?![a-z]+:|#)([^)#\s]+)\)")
PICTURE = re.compile(r"<picture>.*?<img src=\"([^\"]+)\".*?alt=\"([^\"]*)\".*?</picture>", re.DOTALL)
GLOB = re.compile(r"^(\S+\*)\n", re.MULTILINE)
SUMMARY = (
    "> Let customers connect their HRIS, ATS, LMS or assessment tool through Kombo, from inside a Starlette "
    "or FastAPI app."
)
SECTIONS = {
    "tutorial/": "Tutorial",
    "guides/": "How-to guides",
    "reference/": "Reference",
    "explanation/": "Explanation",
    "": "More",
}


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register what happens before a page is parsed and after a build."""
    app.connect("source-read", lambda app, name, source: _read(Path(app.env.doc2path(name)), source))
    app.connect("build-finished", write_sources)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _read(file: Path, source: list[str]) -> None:
    source[0] = expand(source[0], file.parent)


def expand(text: str, folder: Path) -> str:
    """Return a page with the pages that it includes, and with links that the site can follow.

    A table of contents may have a pattern for a page that is missing.
    """
    text = INCLUDED.sub(lambda match: _included(folder / match[1], folder), text)
    text = GLOB.sub(lambda match: match[0] if list(folder.glob(f"{match[1]}.md")) else "", text)
    # The site has no page for a folder of the checkout.
    text = WHOLE_LINK.sub(lambda match: match[1] if (folder / match[2]).is_dir() else match[0], text)
    return LINK.sub(lambda match: f"]({_target(folder / match[1], folder)}", text)


def _included(file: Path, folder: Path) -> str:
    """Return a file without its title, with links that are relative to the page."""
    content = file.read_text(encoding="utf-8").partition("\n")[2].strip()
    content = PICTURE.sub(
        lambda match: f"![{match[2]}]({match[1]})\n", content
    )  # Sphinx copies images, no HTML
    return LINK.sub(lambda match: f"]({relpath(file.parent / match[1], folder)}", content)


def _target(path: Path, folder: Path) -> str:
    path = path.resolve()
    return relpath(PAGES.get(path, path), folder)


def write_sources(app: Sphinx, exception: Exception | None) -> None:
    """Write each page's Markdown beside it, and the list of all pages."""
    if exception is not None or app.builder.format != "html":
        return
    target = Path(app.outdir)
    entries: dict[str, list[str]] = {title: [] for title in SECTIONS.values()}
    for name in sorted(app.env.found_docs):
        file = target / f"{name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_markdown(app, name), encoding="utf-8")
        section = next(title for prefix, title in SECTIONS.items() if name.startswith(prefix))
        entries[section].append(f"- [{app.env.titles[name].astext()}]({name}.md)")
    parts = ["# kombo-embed", "", SUMMARY, ""]
    for title, lines in entries.items():
        parts += [f"## {title}", "", *lines, ""]
    (target / "llms.txt").write_text("\n".join(parts), encoding="utf-8")


def _markdown(app: Sphinx, name: str) -> str:
    source = Path(app.env.doc2path(name))
    text = source.read_text(encoding="utf-8")
    if "{eval-rst}" in text:  # what it says is in docstrings
        builder = TextBuilder(app, app.env)
        builder.secnumbers = {}
        writer = TextWriter(builder)
        document = app.env.get_and_resolve_doctree(name, builder, tags=app.tags)
        return str(writer.write(document, StringOutput(encoding="unicode")))
    return CODE.sub(lambda match: _code(source.parent, match), expand(text, source.parent))


def _code(folder: Path, match: re.Match[str]) -> str:
    indent, file, options = match.groups()
    language = re.search(r":language: (\w+)", options)
    content = (folder / file).read_text(encoding="utf-8").rstrip()
    block = f"```{language[1] if language else ''}\n{content}\n```"
    return "\n".join(f"{indent}{line}".rstrip() for line in block.splitlines())
