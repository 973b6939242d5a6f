"""What training minimises: terms over pixels, terms over classes, and their weighted sum."""

from vocseg.model.losses.objective import LossValue, Objective
from vocseg.model.losses.settings import PLAIN, LossSettings

__all__ = ["PLAIN", "LossSettings", "LossValue", "Objective"]
