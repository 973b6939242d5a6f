"""HTML of the page."""

import base64
import hashlib
from importlib import resources

from vocseg.report.page_parts import PageView
from vocseg.visualization.draw import ERRORS

_MEANINGS = {
    "missed": "an object taken for background",
    "invented": "background taken for an object",
    "confused": "an object taken for one of another class",
}
ERROR_LEGEND = tuple(
    (f"rgb{ERRORS[name]}".replace(" ", ""), name, meaning) for name, meaning in _MEANINGS.items()
)


def render_page(page: PageView) -> str:
    """The page as ASCII, so that no file's encoding matters.

    The browser is told to load nothing and to run no script but ours, known by its digest.

    Args:
        page: What it shows.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("vocseg.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "chance": chance}
    here = resources.files("vocseg.report")
    style, script = (Markup((here / name).read_text("utf-8")) for name in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template("page.html.j2").render(
        page=page, style=style, script=script, script_hash=digest
    )
    return text.encode("ascii", "xmlcharrefreplace").decode()


def percent(value: float | None, digits: int = 1) -> str:
    """A share in per cent, without the sign."""
    return "\u2013" if value is None or value != value else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """A difference in points, with a true minus."""
    if value is None:
        return "\u2013"
    return "0.0" if value == 0 else f"{100 * value:+.1f}".replace("-", "\u2212")


def chance(value: float | None) -> str:
    """A probability."""
    if value is None:
        return "\u2013"
    if not 0.001 <= value <= 0.999:
        return "> 99.9 %" if value > 0.5 else "< 0.1 %"
    return f"{100 * value:.1f} %"
