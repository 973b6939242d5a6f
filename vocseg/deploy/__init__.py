"""Getting results out: masks of a folder of pictures, weights for others."""

from vocseg.deploy.masks import MaskWriter

__all__ = ["MaskWriter"]
