"""One page about runs: HTML with everything inside, to be opened from disk."""

from vocseg.views.report.contents import PageView, RunView
from vocseg.views.report.matrix import matrix_view
from vocseg.views.report.page import ERROR_LEGEND, points, render_page
from vocseg.views.report.parts import Figure

__all__ = ["ERROR_LEGEND", "Figure", "PageView", "RunView", "matrix_view", "points", "render_page"]
