"""Reading and writing of videos with PyAV."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vocseg.data.image_io import MOST_PIXELS, Bytes
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_open

_TICKS = 90_000  # of a second: MPEG's clock
# Of a stranger's file: others are playlists, which name files and URLs.
_SAFE = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpeg,mpegts,asf,flv,mpegvideo,m4v,h264,hevc,ogg",
}
_RATE = Fraction(25)  # frames a second where a file names none
_MISSING = 1.0  # seconds at the end of a video that may lack frames


class Frame(NamedTuple):
    """A frame uint8 `[H,W,3]` RGB, and its position in seconds."""

    image: Bytes
    seconds: float


def read_frames(path: Path) -> Iterator[Frame]:
    """Iterate over the frames of a video, turned as its metadata say. One frame is in memory.

    Raises:
        UserError: If PyAV is missing, or the file is not a video, damaged or too large.
    """
    with _opened(path) as (container, stream):
        size: dict[str, int] = {}
        seconds, duration = 0.0, float((stream.duration or 0) * (stream.time_base or 0))
        try:
            for number, frame in enumerate(container.decode(stream)):
                size = size or {"width": frame.width, "height": frame.height}  # a stream may change its size
                pixels = frame.to_ndarray(format="rgb24", **size)
                seconds = float(number / _rate(stream) if frame.time is None else frame.time)
                turns = getattr(frame, "rotation", 0) // 90
                yield Frame(np.ascontiguousarray(np.rot90(pixels, turns)), seconds)
        except (OSError, ValueError) as error:  # FFmpeg's errors are of these
            raise _damaged(path, error) from error
    if not size or duration - seconds > _MISSING + float(1 / _rate(stream)):
        raise _damaged(path, f"it ends at {seconds:.1f} s of {duration:.1f} s")


class VideoInfo(NamedTuple):
    """Frames a second and number of frames by the file's header. 0: unknown."""

    rate: Fraction
    frames: int


def video_info(path: Path) -> VideoInfo:
    """Read the header of a video; errors as of `read_frames`."""
    with _opened(path) as (container, stream):
        rate = _rate(stream)
        return VideoInfo(rate, int(stream.frames or (container.duration or 0) * rate / 1_000_000))


class VideoWriter:
    """An H.264 video in an mp4 file."""

    def __init__(self, container: Any, rate: Fraction) -> None:
        """Start a video in a container of PyAV; `rate`: frames a second, for players."""
        self._container, self._rate, self._latest = container, rate, -1
        self._stream: Any = None

    def write(self, image: Bytes, seconds: float) -> None:
        """Add a frame uint8 `[H,W,3]`; all have one size."""
        from av import VideoFrame

        image = np.pad(image, [(0, edge % 2) for edge in image.shape[:2]] + [(0, 0)], mode="edge")
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._rate)
            self._stream.width, self._stream.height = image.shape[1], image.shape[0]
            self._stream.pix_fmt = "yuv420p"  # what browsers play; its colours are of 2x2 pixels
            self._stream.codec_context.time_base = Fraction(1, _TICKS)
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._latest = max(self._latest + 1, round(seconds * _TICKS))  # positions must increase
        frame.pts, frame.time_base = self._latest, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Complete the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()


@contextmanager
def open_video(path: Path, rate: Fraction) -> Iterator[VideoWriter]:
    """Write a video that replaces `path` when the block ends without an error.

    Raises:
        UserError: If it cannot be written.
    """
    with atomic_open(path) as file:
        writer = VideoWriter(_pyav(path).open(file, "w", format="mp4"), rate)
        yield writer
        writer.close()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    av = _pyav(path)
    try:
        container = av.open(str(path.resolve()), options=_SAFE)  # absolute: `name:` is a protocol of FFmpeg
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    with container:
        stream: Any = next(iter(container.streams.video), None)
        if stream is None:
            raise UserError(f"{path} has no video stream. Give a video, an image or a folder of images.")
        if stream.width * stream.height > MOST_PIXELS:
            size = f"{stream.width}x{stream.height} pixels, more than {MOST_PIXELS:,}"
            raise UserError(f"the video {path} cannot be read: it has {size}. Make it smaller.")
        stream.thread_type = "AUTO"
        yield container, stream


def _rate(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or _RATE)


def _pyav(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise UserError(
            f'{path}: videos need PyAV. Install it: pip install "vocseg[video]", or extract frames with '
            f"`ffmpeg -i {path} frames/%05d.png`."
        ) from None
    return av


def _damaged(path: Path, reason: Exception | str) -> UserError:
    text = shown(getattr(reason, "strerror", None) or str(reason), 120)
    return UserError(f"the video {path} cannot be read ({text}). Copy it again from its source.")
