"""How the pages become a site: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import tdds

project = "tdds"
author = "The tdds developers"
release = version = tdds.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types in docstrings are prose: "(n_samples,) float64 array"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_mock_imports = ["keras", "lightning", "transformers"]
autodoc_typehints = "none"
autodoc_default_options = {  # scikit-learn's own, documented there
    "exclude-members": "get_metadata_routing, set_output, score, set_fit_request, set_partial_fit_request, "
    "set_score_request, set_transform_request, set_fit_resample_request"
}
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"tdds {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_copyright = False
