"""Boundary bands for the trimap mean IoU.

Mean IoU over the labelled pixels of such a band is the trimap measure of Kohli et al. (Robust Higher Order
Potentials for Enforcing Label Consistency, IJCV 2009) and Kraehenbuehl and Koltun (NIPS 2011), with IoU as
the DeepLab papers report it on VOC: there the band lies around the void borders, here around every change of
label, void among them, which on VOC is the same but where two objects touch without a border. Only true
boundaries count; "Boundary IoU" (Cheng et al., CVPR 2021) sets the bands of truth and prediction against each
other, and is another measure. The band is taken at each picture's own size.
"""

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

WIDTH = 5  # pixels on either side; VOC's void border is about as wide


def boundary_band(mask: Bytes, width: int = WIDTH) -> npt.NDArray[np.bool_]:
    """Where another label is near.

    Args:
        mask: Labels uint8 `[H,W]`, void among them.
        width: How near, in pixels, along rows and columns.

    Returns:
        bool `[H,W]`.
    """
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray(cv2.dilate(mask, square) != cv2.erode(mask, square))
