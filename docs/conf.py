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
autodoc_typehints = "none"  # the docstrings say it in words
