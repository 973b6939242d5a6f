"""Prediction of images, folders and videos from Python."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from vocseg.checkpoints.compatibility import described_classes
from vocseg.data.classes import ClassList
from vocseg.data.image_io import Bytes, read_image, resize_image
from vocseg.data.predict_dataset import ImageFolderDataset, is_several, is_video
from vocseg.errors import UserError
from vocseg.inference.backends import load_trained
from vocseg.inference.hub import is_repository, load_pretrained
from vocseg.inference.result import Result, split_probabilities
from vocseg.inference.sliding_window import SlidingWindow
from vocseg.inference.tta import TTAConfig
from vocseg.inference.video import read_frames
from vocseg.utils.streams import Streams

_SIZE = 256  # side length in pixels where a file of weights names none
_GPU_BATCH, _GPU_STREAMS = 8, 4
_WINDOWS = 4  # sliding windows per forward pass


class _DecodedImage(NamedTuple):
    """An image uint8 `[H,W,3]`, the name of its result, its file, and its position in a video in seconds."""

    image: Bytes
    name: str = "image"
    path: Path | None = None
    seconds: float | None = None


_Job = Callable[[], _DecodedImage | UserError]


class Predictor:
    """A trained network that takes images as they come. Threads may share it.

    Attributes:
        network: uint8 RGB images `[N,3,S,S]` to logits `[N,C,S,S]`, in eval mode.
        class_list: Names and colours of the C classes.
        size: Side length S in pixels to which images are resized.
        device: Device of the network.
        tta: Test-time augmentation.
        windows: Sliding windows at the original resolution. None: each image is resized.
    """

    def __init__(
        self,
        network: nn.Module,
        class_list: ClassList,
        size: int = _SIZE,
        device: torch.device | str = "cpu",
        tta: TTAConfig | None = None,
        windows: SlidingWindow | None = None,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """Move the network to the device and set it to eval mode; arguments as the attributes.

        `context`: context of a forward pass, such as autocast; entered in each thread.
        """
        self.device = torch.device(device)
        self.network, self.class_list, self.size = network.to(self.device).eval(), class_list, size
        self._context = context
        self.tta, self.windows = tta or TTAConfig(step=getattr(network, "step", 1)), windows

    def __repr__(self) -> str:
        return f"<Predictor of {len(self.class_list)} classes at {self.size}x{self.size} on {self.device}>"

    def __call__(self, source: Any) -> Any:
        """Predict one image, or iterate over the results of several.

        Args:
            source: An image: a path, uint8 RGB array `[H,W,3]` (grey: `[H,W]`), PIL image or uint8 tensor
                `[3,H,W]`. Or several: a list of these, a folder with its sub-folders, a pattern such as
                `photos/*.jpg`, a text file with a path on each line, or a video. Files are read in their EXIF
                orientation.

        Returns:
            A `Result`, or an iterator over results that reads and predicts ahead by a few images. Unreadable
            images of a folder, pattern or text file are left out with a warning.

        Raises:
            UserError: If there is no such image, or it cannot be read.
        """
        if isinstance(source, str | Path):
            path = Path(source)
            if is_video(path) and path.is_file():
                return self._iterate(_frames(path))
            found = ImageFolderDataset(path, self.size)  # names what is wrong with the path
            if is_several(path):
                return self._iterate(_files(found))
            return self._results([partial(_read, path, found.names[0])])[0]
        if isinstance(source, Iterable) and not isinstance(source, np.ndarray | Image.Image | Tensor):
            return self._iterate(_items(source))
        return self._results([partial(_from_pixels, source)])[0]

    def _iterate(self, jobs: Iterator[_Job]) -> Iterator[Result]:
        """Yield the results of images in their order; several are under way, so that all cores work."""
        on_cpu = self.device.type == "cpu"
        batch = 1 if on_cpu else _GPU_BATCH
        groups = iter(lambda: list(islice(jobs, batch)), [])
        with Streams(torch.get_num_threads() if on_cpu else _GPU_STREAMS) as streams:
            for results in streams.map(self._results, groups):
                for result in results:
                    if isinstance(result, UserError):
                        warnings.warn(f"vocseg: left out: {result.sentence}", stacklevel=2)
                    else:
                        yield result

    def _results(self, jobs: list[_Job]) -> list[Any]:
        """Read and predict a few images. Errors that a job returns stay."""
        found = [job() for job in jobs]
        decoded = [each for each in found if isinstance(each, _DecodedImage)]
        results = iter(self._predict(decoded) if decoded else ())
        return [next(results) if isinstance(each, _DecodedImage) else each for each in found]

    def _predict(self, decoded: list[_DecodedImage]) -> Iterator[Result]:
        predict = partial(self.tta.logits, self.network)
        with torch.inference_mode(), self._context():
            if self.windows is None:
                resized = [torch.from_numpy(resize_image(each.image, (self.size,) * 2)) for each in decoded]
                batch = predict(torch.stack(resized).to(self.device).permute(0, 3, 1, 2))  # [N,C,S,S]
                logits: list[tuple[Tensor, Bytes | None]] = [(one, None) for one in batch]
            else:
                slide = partial(self.windows.probabilities, predict, batch=_WINDOWS, device=self.device)
                logits = [split_probabilities(slide(image=each.image)) for each in decoded]
        for each, (one, mask) in zip(decoded, logits, strict=True):
            yield Result(each.image, one, self.class_list, each.name, each.path, mask, each.seconds)


def load(
    source: str | Path,
    *,
    device: torch.device | str | None = None,
    flip: bool = False,
    scales: tuple[float, ...] = (1.0,),
    window_stride: float | None = None,
) -> Predictor:
    """Load a trained network, to call it with images.

    Args:
        source: `unet_voc.pth`, a `.ckpt` or an exported file; a folder that `push` wrote, or `user/name` of
            the Hugging Face hub.
        device: Device of the network. None: a GPU if there is one.
        flip: Average with the mirrored image.
        scales: Scales of the side length to average over.
        window_stride: Sliding windows at the original resolution, with this step as a fraction of their side
            length. None: each image is resized to the input resolution.

    Raises:
        UserError: If the file cannot be read, or an option is out of range.
    """
    in_smps_format = Path(source).is_dir() or is_repository(source)
    trained = load_pretrained(source) if in_smps_format else load_trained(source)
    if device is None:
        device = "cuda" if torch.cuda.is_available() and trained.format == "pytorch" else "cpu"
    if window_stride is not None and not 0 < window_stride <= 1:
        raise UserError(
            f"window_stride {window_stride:g} is out of range. Give a fraction above 0, at most 1."
        )
    size = trained.description.get("size") or _SIZE
    tta = TTAConfig(flip, tuple(scales), getattr(trained.network, "step", 1))
    windows = None if window_stride is None else SlidingWindow(size, window_stride)
    return Predictor(trained.network, described_classes(trained.description), size, device, tta, windows)


def _read(path: Path, name: str) -> _DecodedImage:
    return _DecodedImage(read_image(path, exif=True), name, path)


def _read_or_error(path: Path, name: str) -> _DecodedImage | UserError:
    try:
        return _read(path, name)
    except UserError as error:
        return error


def _files(found: ImageFolderDataset) -> Iterator[_Job]:
    for path, name in zip(found.files, found.names, strict=True):
        yield partial(_read_or_error, path, name)


def _frames(path: Path) -> Iterator[_Job]:
    for number, frame in enumerate(read_frames(path)):
        name = f"{path.stem}/{number:06}"
        yield partial(lambda frame, name: _DecodedImage(frame.image, name, path, frame.seconds), frame, name)


def _items(items: Iterable[Any]) -> Iterator[_Job]:
    """The images of a list, with distinct names."""
    taken = Counter[str]()
    for number, item in enumerate(items):
        is_file = isinstance(item, str | Path)
        name = Path(item).stem if is_file else f"image_{number:05}"
        taken[name.casefold()] += 1
        if taken[name.casefold()] > 1:
            name = f"{name}_{taken[name.casefold()]}"
        yield partial(_read, Path(item), name) if is_file else partial(_from_pixels, item, name)


def _from_pixels(pixels: Any, name: str = "image") -> _DecodedImage:
    """Convert an array, a PIL image or a tensor to RGB uint8 `[H,W,3]`."""
    if isinstance(pixels, Image.Image):
        try:
            return _DecodedImage(np.array(ImageOps.exif_transpose(pixels).convert("RGB")), name)
        except Exception as error:  # PIL's decoders raise nearly anything on damaged bytes
            raise UserError(f"the PIL image cannot be read ({error}). Open the file again.") from error
    array = pixels
    if isinstance(pixels, Tensor) and pixels.dim() == 3:
        array = pixels.permute(1, 2, 0).cpu().numpy()
    elif isinstance(pixels, np.ndarray) and pixels.ndim == 2:
        array = pixels[..., None].repeat(3, 2)
    if (
        not isinstance(array, np.ndarray)
        or array.dtype != np.uint8
        or array.shape[2:] != (3,)
        or not array.size
    ):
        about = f" {pixels.dtype} {list(pixels.shape)}" if hasattr(pixels, "shape") else ""
        raise UserError(
            f"the {type(pixels).__name__}{about} is not an image. Give a path, a PIL image, or uint8 RGB: an "
            "array [H,W,3] or a tensor [3,H,W]."
        )
    return _DecodedImage(np.array(array, order="C"), name)
