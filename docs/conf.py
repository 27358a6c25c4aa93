"""Configuration of the documentation."""

import inspect
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from sphinx.util.inspect import stringify_signature

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import results  # noqa: E402

results.write(HERE)

project = "kpflow_numerics"
author = "The kpflow_numerics developers"
release = metadata.version("kpflow-numerics")
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
exclude_patterns = ["_build", "generated/results_rows.rst"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Exact numerics of learning in recurrent networks",
    "sidebar_width": "260px",  # The name of the project, on one line.
}


sphinx_gallery_conf = {
    "reset_modules": ("matplotlib", "seaborn", "plain_numbers.plain_numbers"),
    "examples_dirs": "../examples",
    "gallery_dirs": "generated/gallery",
    "ignore_pattern": r"run_experiments\.py",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "write_computation_times": False,
}


def signature_of_operator(
    _app: Any, what: str, _name: str, documented: Any, _options: Any, shown: str, returned: str
) -> tuple[str, str] | None:
    """Return the arguments of an operator, which SciPy's ``LinearOperator.__new__`` would hide."""
    if what != "class" or shown != "(*args, **kwargs)":
        return None
    first, *others = inspect.signature(documented.__init__).parameters.values()
    arguments = inspect.Signature(others if first.name == "self" else [first, *others])
    return stringify_signature(arguments, show_annotation=False), returned


def setup(app: Any) -> None:
    """Connect what is ours to the build."""
    app.connect("autodoc-process-signature", signature_of_operator)
