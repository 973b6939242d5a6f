"""Boundary bands for the trimap mean IoU.

The trimap measure of Kohli et al. (IJCV 2009) and Kraehenbuehl and Koltun (NIPS 2011) with the IoU of the
DeepLab papers: mean IoU over the labelled pixels near a true boundary, at original resolution. Here the band
surrounds every change of label, ignored pixels (255) included. It differs from "Boundary IoU" (CVPR 2021).
"""

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

WIDTH = 5  # pixels on either side; VOC's ignored borders are about as wide


def boundary_band(mask: Bytes, width: int = WIDTH) -> npt.NDArray[np.bool_]:
    """Pixels within `width` pixels of another label (255 included), bool `[H,W]` of uint8 `[H,W]`."""
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray(cv2.dilate(mask, square) != cv2.erode(mask, square))
