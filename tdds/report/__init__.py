"""One HTML file on what was scored, how, and what a coreset of it holds: `tdds report`.

Nothing is fetched and nothing is sent: the page's policy forbids it. Whatever comes from a file is escaped, and no
script but the page's own runs.
"""

try:
    import jinja2  # noqa: F401
    import PIL  # noqa: F401
except ImportError:
    raise ImportError("tdds report needs Jinja2 and Pillow: pip install 'tdds-coreset[report]'") from None

from tdds.report.page import write_report
from tdds.report.samples import Images, Rows, Samples

__all__ = ["Images", "Rows", "Samples", "write_report"]
