"""`predict` of a video: a video of overlays, optionally a mask of each frame."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from vocseg.callbacks import find_callback
from vocseg.callbacks.original_resolution import OriginalResolutionEval
from vocseg.callbacks.prediction_writer import RESULTS, PredictionWriter
from vocseg.callbacks.test_time_augmentation import TestTimeAugmentation
from vocseg.checkpoints.weights import weights_origin
from vocseg.errors import UserError
from vocseg.inference.predictor import Predictor
from vocseg.inference.result import Result
from vocseg.inference.tta import TTAConfig
from vocseg.inference.video import open_video, video_info
from vocseg.models.module import SegmentationModule
from vocseg.utils.atomic_write import AtomicFolder, UnwritableError, atomic_write
from vocseg.utils.regular_file import as_json


def predict_video(trainer: Any, module: SegmentationModule, path: Path, size: int) -> dict[str, Any]:
    """Write `overlays/NAME.mp4`, `predictions.json`, and with `video_masks` masks in `masks/NAME/`.

    The trainer's callbacks and device are used. Frames are resized to `size` pixels.

    Returns:
        The content of `predictions.json`.

    Raises:
        UserError: If the video cannot be read, or a file cannot be written. Then no file of it is left.
    """
    info = video_info(path)
    writer = find_callback(trainer, PredictionWriter) or PredictionWriter()
    if writer.confidence:
        raise UserError("--prediction_writer.confidence true is for images. Leave it out for a video.")
    folder = Path(writer.folder or trainer.log_dir or trainer.default_root_dir)
    predictor = _predictor(trainer, module, size)
    started, pixels, frames, overlay = time.monotonic(), Counter[str](), 0, f"overlays/{path.stem}.mp4"
    with ExitStack() as stack:
        masks = _mask_folder(folder / "masks" / path.stem, stack) if writer.video_masks else None
        video = stack.enter_context(open_video(folder / overlay, info.rate))
        result: Result | None = None
        for result in _with_progress(predictor(path), path.name, info.frames or None, trainer):
            video.write(np.asarray(result.overlay()), result.seconds or 0.0)
            if masks is not None:
                masks.write(f"{frames:06}.png", result.mask_png())
            pixels.update({name: int(area["pixels"]) for name, area in result.areas.items()})
            frames += 1
        assert result is not None  # `read_frames` raises if there is none
    if masks is not None:
        masks.settle()
        masks.reveal()
    height, width = result.mask.shape
    found: dict[str, Any] = {
        "source": str(path),
        "folder": str(folder),
        "video": {"frames": frames, "rate": float(info.rate), "width": width, "height": height}
        | {"overlay": overlay, "masks": f"masks/{path.stem}" if writer.video_masks else None},
        "classes": {name: {"share": count / pixels.total()} for name, count in sorted(pixels.items())},
        "size": size,
        "tta": predictor.tta.label,
        "windows": predictor.windows and predictor.windows.label,
        "weights": weights_origin(module.loaded_from, folder, module),
    }
    atomic_write(folder / RESULTS, as_json(found) + "\n")
    seconds = time.monotonic() - started
    rate = f"{frames / seconds:.1f} frames/s"
    print(f"\n{frames:,} frame{'s' * (frames != 1)} predicted in {seconds:.1f} s ({rate})")
    print(f"overlay     {folder / overlay}  (without sound)")
    if writer.video_masks:
        print(f"masks       {folder / 'masks' / path.stem}")
    print(f"areas       {folder / RESULTS}", flush=True)
    return found


def _predictor(trainer: Trainer, module: SegmentationModule, size: int) -> Predictor:
    full = find_callback(trainer, OriginalResolutionEval)
    given = find_callback(trainer, TestTimeAugmentation)
    tta = given.config if given is not None else TTAConfig()
    precision = trainer.precision_plugin
    return Predictor(
        precision.convert_module(module.network),
        module.class_list,
        size,
        trainer.strategy.root_device,
        TTAConfig(tta.flip, tta.scales, module.network.step),
        full.windows(size) if full is not None and full.window else None,
        precision.forward_context,
    )


def _mask_folder(path: Path, stack: ExitStack) -> AtomicFolder:
    """A folder of masks, removed if the block ends with an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = AtomicFolder(path, alone=True)
    except OSError as error:
        raise UnwritableError(path, error) from error
    stack.push(lambda kind, *_: folder.drop() if kind is not None else None)
    return folder


def _with_progress(results: Iterable[Result], name: str, total: int | None, trainer: Any) -> Iterator[Result]:
    """Iterate with a progress bar on a terminal."""
    console = Console()
    shown = console.is_terminal and trainer.progress_bar_callback is not None
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        yield from bar.track(results, total, description=name)
