"""The site: `python -m sphinx -W -b html docs site`."""

import pathlib
import runpy

import optax_cosine

DOCS = pathlib.Path(__file__).parent
runpy.run_path(str(DOCS / "pictures.py"))["draw_all"](DOCS / "_pictures")

project = "optax-cosine"
copyright = "The optax-cosine developers, Apache-2.0"
version = release = optax_cosine.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_pictures"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!optax_cosine\.).*")]  # types of other packages
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_copy_source = False
myst_heading_anchors = 3
default_role = "code"  # single backticks, as the docstrings have them
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it in words


def without_blank_last_lines(app, name, source):
    """Of examples in Markdown, whose expected output an empty line has to end."""
    del app, name
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def setup(app):
    app.connect("source-read", without_blank_last_lines)
