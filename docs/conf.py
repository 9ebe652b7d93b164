"""How the pages become a site: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

import tdds

project = "tdds"
author = "The tdds developers"
release = version = tdds.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build"]
nitpicky = True

highlight_options = {"python": {"stripnl": True}}  # not the empty line that doctest wants at an example's end

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_mock_imports = ["keras", "lightning", "transformers"]
autodoc_typehints = "none"
autodoc_default_options = {  # scikit-learn's own, documented there
    "exclude-members": "get_metadata_routing, set_output, score, set_fit_request, set_partial_fit_request, "
    "set_score_request, set_transform_request, set_fit_resample_request"
}
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "capture_repr": (),
    "show_memory": False,
    "min_reported_time": 60,
    "write_computation_times": False,
    "doc_module": ("tdds",),
    "reference_url": {"tdds": None},
}

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"tdds {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_copyright = False


def write_formula(translator, node):
    """Formulas as MathML, which browsers draw themselves: no script, no network."""
    display = "block" if node.tagname == "math_block" else "inline"
    translator.body.append(convert(node.astext(), display=display))
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
