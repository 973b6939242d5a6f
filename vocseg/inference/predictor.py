"""Prediction of images, folders and videos from Python."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, overload

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

Pixels = Bytes | Image.Image | Tensor


class _DecodedImage(NamedTuple):
    """An image uint8 `[H,W,3]`, the name of its result, its file, and its position in a video in seconds."""

    image: Bytes
    name: str = "image"
    path: Path | None = None
    seconds: float | None = None


class Predictor:
    """A trained network that takes images as they come. Threads may share it.

    Attributes:
        network: uint8 RGB images `[N,3,S,S]` to logits `[N,C,S,S]`, in eval mode.
        class_list: Names and colours of the C classes.
        size: Side length S in pixels to which images are resized.
        device: Device of the network.
        tta: Default test-time augmentation.
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
        """Move the network to the device and set it to eval mode.

        Args:
            network: See the attributes, as the others.
            class_list: Classes.
            size: Side length.
            device: Device.
            tta: Test-time augmentation.
            windows: Sliding windows.
            context: Context of a forward pass, such as autocast; entered in each thread.
        """
        self.device = torch.device(device)
        self.network, self.class_list, self.size = network.to(self.device).eval(), class_list, size
        self._context = context
        self.tta, self.windows = tta or TTAConfig(step=getattr(network, "step", 1)), windows

    def __repr__(self) -> str:
        return f"<Predictor of {len(self.class_list)} classes at {self.size}x{self.size} on {self.device}>"

    @overload
    def __call__(  # type: ignore[overload-overlap]  # an array is iterable too
        self, source: Pixels, *, flip: bool | None = ..., scales: tuple[float, ...] | None = ...
    ) -> Result: ...

    @overload
    def __call__(
        self, source: str | Path, *, flip: bool | None = ..., scales: tuple[float, ...] | None = ...
    ) -> Any: ...

    @overload
    def __call__(
        self,
        source: Iterable[str | Path | Pixels],
        *,
        flip: bool | None = ...,
        scales: tuple[float, ...] | None = ...,
    ) -> Iterator[Result]: ...

    def __call__(
        self, source: Any, *, flip: bool | None = None, scales: tuple[float, ...] | None = None
    ) -> Any:
        """Predict one image, or iterate over the results of several.

        Args:
            source: An image: a path, uint8 RGB array `[H,W,3]` (grey: `[H,W]`), PIL image or uint8 tensor
                `[3,H,W]`. Or several: a list of these, a folder with its sub-folders, a pattern such as
                `photos/*.jpg`, a text file with a path on each line, or a video. Files are read in their EXIF
                orientation.
            flip: Average with the mirrored image. None: as in `load`.
            scales: Scales of the side length to average over. None: as in `load`.

        Returns:
            A `Result`, or an iterator over results that reads and predicts ahead by a few images. Unreadable
            images of a folder, pattern or text file are left out with a warning.

        Raises:
            UserError: If there is no such image, or it cannot be read.
        """
        tta = TTAConfig(
            self.tta.flip if flip is None else flip,
            self.tta.scales if scales is None else tuple(scales),
            self.tta.step,
        )
        tta.sizes(self.size)
        if isinstance(source, str | Path):
            path = Path(source)
            if is_video(path) and path.is_file():
                return self._iterate(_frames(path), tta)
            if is_several(path):
                return self._iterate(_files(ImageFolderDataset(path, self.size)), tta, leave_out=True)
            found = ImageFolderDataset(path, self.size)  # names what is wrong with the path
            return self._results([partial(_read, path, found.names[0])], tta)[0]
        if isinstance(source, np.ndarray | Image.Image | Tensor):
            return self._results([partial(_from_pixels, source)], tta)[0]
        if isinstance(source, Iterable):
            return self._iterate(_items(source), tta)
        raise UserError(
            f"{type(source).__name__} is no image: give a path, an array, a PIL image or a tensor"
        )

    def _iterate(
        self, jobs: Iterator[Callable[[], _DecodedImage]], tta: TTAConfig, leave_out: bool = False
    ) -> Iterator[Result]:
        """Yield the results of images in their order; several are under way, so that all cores work."""
        on_cpu = self.device.type == "cpu"
        batch = 1 if on_cpu else _GPU_BATCH
        groups = iter(lambda: list(islice(jobs, batch)), [])
        with Streams(torch.get_num_threads() if on_cpu else _GPU_STREAMS) as streams:
            for results in streams.map(partial(self._results, tta=tta, leave_out=leave_out), groups):
                for result in results:
                    if isinstance(result, UserError):
                        warnings.warn(f"vocseg: left out: {result.sentence}", stacklevel=2)
                    else:
                        yield result

    def _results(
        self, jobs: list[Callable[[], _DecodedImage]], tta: TTAConfig, leave_out: bool = False
    ) -> list[Any]:
        """Read and predict a few images. With `leave_out`, errors stand in for unreadable ones."""
        found: list[Any] = []
        for job in jobs:
            try:
                found.append(job())
            except UserError as error:
                if not leave_out:
                    raise
                found.append(error)
        decoded = [each for each in found if isinstance(each, _DecodedImage)]
        results = iter(self._predict(decoded, tta) if decoded else ())
        return [next(results) if isinstance(each, _DecodedImage) else each for each in found]

    def _predict(self, decoded: list[_DecodedImage], tta: TTAConfig) -> Iterator[Result]:
        predict = partial(tta.logits, self.network)
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
    tta.sizes(size)
    windows = None if window_stride is None else SlidingWindow(size, window_stride)
    return Predictor(trained.network, described_classes(trained.description), size, device, tta, windows)


def _read(path: Path, name: str) -> _DecodedImage:
    return _DecodedImage(read_image(path, exif=True), name, path)


def _files(found: ImageFolderDataset) -> Iterator[Callable[[], _DecodedImage]]:
    for reason in found.left_out.reasons.values():  # broken links and missing files
        warnings.warn(f"vocseg: left out: {reason}", stacklevel=2)
    for path, name in zip(found.files, found.names, strict=True):
        yield partial(_read, path, name)


def _frames(path: Path) -> Iterator[Callable[[], _DecodedImage]]:
    for number, frame in enumerate(read_frames(path)):
        name = f"{path.stem}/{number:06}"
        yield partial(lambda frame, name: _DecodedImage(frame.image, name, path, frame.seconds), frame, name)


def _items(items: Iterable[Any]) -> Iterator[Callable[[], _DecodedImage]]:
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
    if isinstance(pixels, Tensor):
        shape, kind = tuple(pixels.shape), str(pixels.dtype).removeprefix("torch.")
        array = pixels.permute(1, 2, 0).cpu().numpy() if pixels.dim() == 3 else None
    elif isinstance(pixels, np.ndarray):
        shape, kind = pixels.shape, str(pixels.dtype)
        array = pixels[..., None].repeat(3, 2) if pixels.ndim == 2 else pixels
    else:
        raise UserError(
            f"{type(pixels).__name__} is no image: give a path, an array, a PIL image or a tensor"
        )
    if array is None or array.ndim != 3 or array.shape[2] != 3 or kind != "uint8" or not array.size:
        raise UserError(
            f"the {type(pixels).__name__.lower()} {kind} {list(shape)} is no image: give uint8 RGB, an array "
            "[H,W,3] or a tensor [3,H,W], with values 0 to 255"
        )
    return _DecodedImage(np.array(array, order="C"), name)
