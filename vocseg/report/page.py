"""HTML of the page."""

import base64
import hashlib
from importlib import resources

from vocseg.report.page_parts import PageView
from vocseg.visualization.draw import ERRORS
from vocseg.visualization.formatting import percent, points, probability, typographic

_MEANINGS = {
    "missed": "object predicted as background",
    "invented": "background predicted as object",
    "confused": "object predicted as another class",
}
ERROR_LEGEND = tuple(
    (f"rgb{ERRORS[name]}".replace(" ", ""), name, meaning) for name, meaning in _MEANINGS.items()
)


def render_page(page: PageView) -> str:
    """Render the page as ASCII text, which is valid in any encoding."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("vocseg.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda *args: typographic(percent(*args)),
        "points": lambda value: typographic(points(value)),
        "probability": lambda value: typographic(probability(value)),
    }
    here = resources.files("vocseg.report")
    style, script = (Markup((here / name).read_text("utf-8")) for name in ("style.css", "script.js"))
    # The page's content security policy allows no request, and no script with another digest.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template("page.html.j2").render(
        page=page, style=style, script=script, script_hash=digest
    )
    return text.encode("ascii", "xmlcharrefreplace").decode()
