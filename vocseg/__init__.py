"""Semantic segmentation on Pascal VOC 2012: U-Net, PyTorch Lightning, scores one can trust."""

__version__ = "0.2.0"
