"""Configuration of the documentation."""

from importlib import metadata

project = "kpflow_numerics"
author = "The kpflow_numerics developers"
release = metadata.version("kpflow-numerics")
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Exact numerics of learning in recurrent networks"}
