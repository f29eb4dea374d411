"""The site: `python -m sphinx -W -b html docs site`."""

import os
import pathlib
import re
import runpy

from docutils import nodes

import optax_cosine

DOCS = pathlib.Path(__file__).parent
PICTURES = runpy.run_path(str(DOCS / "pictures.py"))
PICTURES["draw_all"](DOCS / "_pictures")
# "owner/name" where GitHub builds the site; pages then link to their source.
REPOSITORY = os.environ.get("GITHUB_REPOSITORY")

project = "optax-cosine"
copyright = "The optax-cosine developers, Apache-2.0"
version = release = optax_cosine.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_pictures", "_templates"]
templates_path = ["_templates"]
nitpicky = True
# Types of other packages, and those of this package that have no page.
nitpick_ignore_regex = [("py:.*", r"(?!optax_cosine\.).*|optax_cosine\._.*")]
html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_theme_options = {}
if REPOSITORY:
    html_theme_options = {
        "source_repository": f"https://github.com/{REPOSITORY}",
        "source_branch": "main",
        "source_directory": "docs/",
        "footer_icons": [
            {
                "name": "GitHub",
                "url": f"https://github.com/{REPOSITORY}",
                "html": "GitHub",
                "class": "",
            }
        ],
    }
myst_heading_anchors = 3
default_role = "code"  # single backticks, as the docstrings have them
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autosummary_context = {"pictures": sorted(PICTURES["NAMED"])}
# Napoleon would take the words before a colon for the type of what is returned.
napoleon_custom_sections = ["Returns"]

ARRAY_LIKE = re.compile(r"[~\w.]*Array \\?\| [~\w.]*ndarray[~\w.| \\]*\bcomplex")
# Pages of other projects, so that types link there and the site builds offline.
LINKS = {
    "jax.Array": "https://docs.jax.dev/en/latest/_autosummary/jax.Array.html",
    "jax.typing.ArrayLike": "https://docs.jax.dev/en/latest/_autosummary/jax.typing.ArrayLike.html",
    "numpy.floating": "https://numpy.org/doc/stable/reference/arrays.scalars.html",
    "optax.GradientTransformation": (
        "https://optax.readthedocs.io/en/latest/api/transformations.html"
    ),
    "optax.GradientTransformationExtraArgs": (
        "https://optax.readthedocs.io/en/latest/api/transformations.html"
    ),
}


def without_blank_last_lines(app, name, source):
    """Of examples in Markdown, whose expected output an empty line has to end."""
    del app, name
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def with_short_types(app, what, name, obj, options, signature, returned):
    """`ArrayLike` by its name: Sphinx writes out the union that it stands for."""
    del app, name, obj, options
    if what == "class":
        return "", None  # only functions build schedules
    return tuple(
        text and ARRAY_LIKE.sub("~jax.typing.ArrayLike", text)
        for text in (signature, returned)
    )


def linked(app, env, node, contents):
    """A type of another project, as a link to its page."""
    del app, env
    target = node.get("reftarget", "")
    for name, address in LINKS.items():
        if target == name or target.endswith(f".{name.rpartition('.')[2]}"):
            return nodes.reference("", "", contents, refuri=address)
    return None


def setup(app):
    app.connect("source-read", without_blank_last_lines)
    app.connect("autodoc-process-signature", with_short_types)
    app.connect("missing-reference", linked)
