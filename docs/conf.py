"""The configuration of the site: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import docs.site  # noqa: E402 - after the path is set
from kombo_embed import __version__  # noqa: E402 - as above

project = "kombo-embed"
copyright = "the kombo-embed developers"  # noqa: A001 - Sphinx's name
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", docs.site.__name__]
exclude_patterns = ["_build", "generate"]
source_suffix = {".md": "markdown"}
# Anchors of headings up to the third level, as on hosting platforms.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = [
    "myst.header",  # pages that are included begin below their title
    "misc.highlighting_failure",  # JSON with an ellipsis
]

autodoc_typehints = "none"  # the signatures have them
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(datetime|collections|starlette|httpx|fastapi|pydantic|sqlalchemy)\..*"),  # other projects
    # Errors are caught by the classes on the page, and distinguished by their code.
    ("py:exc", r"StoreUnavailable|InvalidRequest|IdentityError"),
    ("py:obj", r"kombo\.settle|KomboEmbedMiddleware|EndUser|KomboError"),  # names without their module
]
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"kombo-embed {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False  # `docs.site` writes the Markdown beside each page
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5c56", "color-brand-content": "#0b5c56"},
    "dark_css_variables": {"color-brand-primary": "#7dd3c8", "color-brand-content": "#7dd3c8"},
}
