"""Web page to try one or two networks."""

import base64
import os
import tempfile
import time
import zlib
from abc import ABCMeta
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from vocseg.data.image_io import MOST_PIXELS, Bytes, decode_image, read_bytes
from vocseg.deploy.images import sample_images
from vocseg.errors import UserError
from vocseg.inference.predictor import Predictor
from vocseg.inference.result import Result, encoded

_MOST_UPLOAD = 3 * MOST_PIXELS  # bytes: an image of MOST_PIXELS without compression
_SHOWN_SIDE = 1280  # pixels of the longer side of what the browser draws; the mask to download has all
_SAMPLES = 3
_MOST_WAITING = 16  # uploads in the queue
_MOST_SESSIONS = 32  # open pages whose last result Gradio keeps
_KEPT = (60, 600)  # seconds between clean-ups, and of life of an uploaded file
_JPEG_QUALITY = 88
_FILES = Path(__file__).parent
_PLACEHOLDER = "Drop a photograph here\nor click to choose one"


class Model(NamedTuple):
    """A network, and its name on the page."""

    name: str
    predictor: Predictor


def check_same_classes(models: Sequence[Model]) -> None:
    """Raise `UserError` if the models, which share the switches of the page, differ in their classes."""
    first = models[0]
    for other in models[1:]:
        if other.predictor.class_list.names != first.predictor.class_list.names:
            raise UserError(
                f"{first.name} and {other.name} cannot be compared: their classes differ. Give weights that "
                "were trained with one class list."
            )


@contextmanager
def page_server(models: Sequence[Model]) -> Iterator[Any]:
    """Provide a `uvicorn.Server` of the page, to run on a socket; uploaded files are deleted at the end.

    Args:
        models: One or two models with the same classes.
    """
    import uvicorn

    with tempfile.TemporaryDirectory(prefix="vocseg-app-", ignore_cleanup_errors=True) as folder:
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
        # A browser keeps a connection open: without a limit the server would wait for it at its end.
        options: dict[str, Any] = {"log_level": "critical", "timeout_graceful_shutdown": 1}
        yield uvicorn.Server(uvicorn.Config(_web_app(models, Path(folder)), **options))


def _web_app(models: Sequence[Model], folder: Path) -> Any:
    """The page as a web application. Gradio's `launch` sends requests through the system's proxy."""
    import gradio as gr
    from fastapi import FastAPI, Response

    # Gradio's own fonts may come from the network.
    theme = gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"])
    application = FastAPI(openapi_url=None)
    for route in ("/gradio_api/file=http{rest:path}", "/gradio_api/file/http{rest:path}"):
        # Gradio would fetch the address.
        application.add_api_route(route, lambda rest: Response(status_code=403), methods=["GET", "HEAD"])
    return gr.mount_gradio_app(
        application,
        _blocks(models, folder),
        path="/",
        theme=theme,
        css_paths=[_FILES / "page.css"],
        max_file_size=_MOST_UPLOAD,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
    )


def _blocks(models: Sequence[Model], folder: Path) -> Any:
    """The components of the page: an image, samples, and the result. Uploads are below `folder`."""
    import gradio as gr

    image_of_uploads = _upload_component(folder)
    with gr.Blocks(title="vocseg", analytics_enabled=False, delete_cache=_KEPT) as blocks:
        gr.HTML(
            '<header class="vocseg-head"><h1>vocseg</h1><p>Semantic segmentation</p></header>',
            apply_default_css=False,
        )
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                image = image_of_uploads(
                    sources=["upload", "webcam", "clipboard"],
                    label="Image",
                    height=240,
                    buttons=[],
                    placeholder=_PLACEHOLDER,
                )
                gr.Examples(_write_samples(folder / "samples"), image, label="Sample images")
            with gr.Column(scale=3, min_width=300):
                result = gr.HTML(
                    html_template='<div class="vocseg-result"></div>',
                    js_on_load=(_FILES / "page.js").read_text(),
                    apply_default_css=False,
                )
        options: dict[str, Any] = {"trigger_mode": "always_last", "api_visibility": "private"}
        image.change(partial(answer, models), image, result, concurrency_limit=1, **options)
    blocks.queue(max_size=_MOST_WAITING)
    blocks.state_session_capacity = _MOST_SESSIONS
    return blocks


def _upload_component(folder: Path) -> Any:
    """Return a class of Gradio's image that is read by vocseg, and only from the folder of uploads.

    Gradio checks the folder only in pages that it launches itself. Without a check, a request could name any
    file of this machine, or an address. The check belongs to the class, as Gradio makes the component anew
    after a click on a sample.
    """
    import gradio as gr

    class Metaclass(type(gr.Image)):  # type: ignore[misc]
        def __new__(cls, *arguments: Any) -> Any:
            return ABCMeta.__new__(cls, *arguments)  # Gradio's would write `page.pyi` beside this file

    class UploadedImage(gr.Image, metaclass=Metaclass):  # type: ignore[misc]
        is_template = True  # with the looks of its base class

        def preprocess(self, payload: Any) -> Any:
            if payload is not None:
                _check_uploaded(payload.path, folder)
            return payload

        async def async_move_resource_to_block_cache(self, path: Any) -> Any:
            _check_uploaded(path, folder)  # before it is copied to where files are served from
            return await super().async_move_resource_to_block_cache(path)

    return UploadedImage


def _check_uploaded(path: Any, folder: Path) -> None:
    """Raise `gradio.Error`, which the page shows, if a file is not below the folder."""
    import gradio as gr

    if not isinstance(path, str | Path) or not Path(path).resolve().is_relative_to(folder.resolve()):
        raise gr.Error("The image was not uploaded. Upload it.", print_exception=False)


def answer(models: Sequence[Model], upload: Any) -> dict[str, Any] | None:
    """Predict an uploaded image with each model.

    Args:
        models: The models.
        upload: Gradio's description of the file, with `path` and `orig_name`. None: no image.

    Returns:
        What `page.js` draws; or `error`, a sentence. None: no image.
    """
    if upload is None:
        return None
    name = Path(upload.orig_name or upload.path).name
    try:
        image = decode_image(read_bytes(Path(upload.path), "image")[0], Path(name), exif=True)
    except UserError as error:
        sentence = error.sentence.removesuffix(".")
        return {"error": f"{sentence[0].upper()}{sentence[1:]}."}
    results = [_timed(model.predictor, image) for model in models]
    small = _shrunk(image, cv2.INTER_AREA)
    letters = ["A", "B"] if len(models) > 1 else [""]
    return {
        "image": _data_uri(encoded(Image.fromarray(small), "JPEG", quality=_JPEG_QUALITY), "jpeg"),
        "name": name,
        "size": [image.shape[1], image.shape[0]],
        "shown": [small.shape[1], small.shape[0]],
        "models": [
            {
                "letter": letter,
                "name": model.name,
                "ms": 1000 * seconds,
                "device": model.predictor.device.type.replace("cuda", "gpu").upper(),
                # Not as a PNG: browsers may add noise to the pixels of a picture that a script reads.
                "labels": _base64(zlib.compress(_shrunk(result.mask, cv2.INTER_NEAREST_EXACT).tobytes())),
                "mask": _data_uri(result.mask_png(), "png"),
                "file": f"{Path(name).stem}_mask{letter and f'_{letter}'}.png",
            }
            for letter, model, (result, seconds) in zip(letters, models, results, strict=True)
        ],
        "classes": _classes([result for result, _ in results]),
    }


def _timed(predictor: Predictor, image: Bytes) -> tuple[Result, float]:
    """The result and the seconds from decoded pixels to the mask."""
    start = time.perf_counter()
    result = predictor(image)
    return result, time.perf_counter() - start


def _classes(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Index, name, colour and fraction of the image by model of each class in a result, by area."""
    classes = results[0].class_list
    found = []
    for index, name in enumerate(classes.names):
        shares = [result.classes.get(name, 0) for result in results]
        if any(shares):
            colour = list(classes.palette[index])
            found.append({"index": index, "name": name, "colour": colour, "shares": shares})
    return sorted(found, key=lambda each: -max(each["shares"]))


def _shrunk(pixels: Bytes, interpolation: int) -> Bytes:
    """An image or a mask with at most `_SHOWN_SIDE` pixels at its longer side."""
    height, width = pixels.shape[:2]
    scale = min(1, _SHOWN_SIDE / max(height, width))
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation), np.uint8)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{_base64(data)}"


def _write_samples(folder: Path) -> list[list[str]]:
    """Write images of the sample set, and return them as Gradio's examples."""
    folder.mkdir()
    rows = []
    for number, image in enumerate(sample_images(_SAMPLES), 1):
        path = folder / f"sample_{number}.jpg"
        Image.fromarray(image).save(path, quality=_JPEG_QUALITY)
        rows.append([str(path)])
    return rows
