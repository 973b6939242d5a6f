"""Network, loss, metrics and the LightningModule that holds them."""

from vocseg.model.module import SegmentationModule
from vocseg.model.network import Network, build_network

__all__ = ["Network", "SegmentationModule", "build_network"]
