"""Constants of VOC 2012 and ImageNet that all packages share."""

from pathlib import Path

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *(
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
)


IGNORE_INDEX = 255  # "void": object borders and difficult areas; counts neither in the loss nor in a score


IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of pixels scaled to 0..1; what the encoders' weights expect


IMAGENET_STD = (0.229, 0.224, 0.225)


def _colour(index: int) -> tuple[int, int, int]:
    """RGB of a label in the VOC colour map: the label's bits dealt out to the channels, high bits first."""
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> (3 * bit) & 1) << (7 - bit)
        green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


PALETTE = tuple(_colour(index) for index in range(256))

VOID_SHARE = 1 / 3  # of all pixels, from which it is said: VOC's masks have about 0.05

ORIGINAL_RESOLUTION, INPUT_RESOLUTION = "original_resolution", "input_resolution"  # keys of `scores.json`

STDOUT = Path("-")  # file name of standard output
