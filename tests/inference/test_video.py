"""Videos, from the command line and from Python."""

import json
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.conftest import refused
from vocseg.__main__ import main
from vocseg.data import voc
from vocseg.data.image_io import read_image
from vocseg.errors import UserError
from vocseg.inference.predictor import load
from vocseg.inference.video import open_video, read_frames, video_info

Capture = pytest.CaptureFixture[str]
OUT = Path("lightning_logs/predict/version_0")
FRAMES = 9


@pytest.fixture(scope="module")
def clip(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine frames of odd size in two seconds, not evenly spaced."""
    source = voc.find(sample)
    assert source is not None
    image = read_image(voc.image_path(source, voc.split_ids(source, "val")[0]))[:91, :121]
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with open_video(path, Fraction(5)) as video:
        for k in range(FRAMES):
            video.write(np.roll(image, 5 * k, 1), k * k / 40)
    return path


def _words(trained: Path, source: Path | str, *more: str) -> list[str]:
    start = ["predict", "--ckpt_path", str(trained / "unet_voc.pth"), "--trainer.accelerator", "cpu"]
    return [*start, "--data.predict_dir", str(source), *more]


def test_predict_of_video_writes_overlays_at_frame_positions(
    trained: Path, clip: Path, here: Path, capsys: Capture
) -> None:
    main(_words(trained, clip, "--prediction_writer.video_masks", "true", "--json", "found.json"))
    said = capsys.readouterr().out
    assert f"{FRAMES} frames predicted in " in said
    assert " frames/s)" in said
    found = json.loads(Path("found.json").read_text())
    assert found == json.loads((OUT / "predictions.json").read_text())
    assert found["video"] == {
        **{"frames": FRAMES, "rate": float(video_info(clip).rate), "width": 122, "height": 92},
        **{"overlay": "overlays/clip.mp4", "masks": "masks/clip"},
    }
    assert sum(each["share"] for each in found["classes"].values()) == pytest.approx(1)
    frames, overlays = list(read_frames(clip)), list(read_frames(OUT / "overlays/clip.mp4"))
    assert [frame.seconds for frame in overlays] == pytest.approx(
        [k * k / 40 for k in range(FRAMES)], abs=1e-3
    )
    model = load(trained / "unet_voc.pth", device="cpu")
    for k, (frame, drawn, result) in enumerate(zip(frames, overlays, model(clip), strict=True)):
        mask = np.asarray(Image.open(OUT / f"masks/clip/{k:06}.png"))
        assert (mask == result.mask).mean() > 0.999
        assert (result.name, result.seconds) == (f"clip/{k:06}", frame.seconds)
        far, near = (
            np.abs(image - np.float32(drawn.image)).mean() for image in (frame.image, result.overlay())
        )
        assert near < far / 2  # H.264 loses details
    assert not list(OUT.rglob("*.part"))


def test_rotated_video_frames_are_upright(clip: Path, tmp_path: Path) -> None:
    # The matrix of a quarter turn, as phones write it into the track's header.
    content = clip.read_bytes()
    plain = b"".join(number.to_bytes(4, "big") for number in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    quarter = (0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 0, 0, 1 << 30)
    at = content.index(plain, content.index(b"tkhd"))
    turned = b"".join(number.to_bytes(4, "big") for number in quarter)
    (tmp_path / "turned.mp4").write_bytes(content[:at] + turned + content[at + len(turned) :])
    found, stored = next(read_frames(tmp_path / "turned.mp4")).image, next(read_frames(clip)).image
    assert found.shape == (122, 92, 3)
    assert (found == np.rot90(stored, -1)).all()  # clockwise


def _faststart(clip: Path, path: Path) -> bytes:
    with av.open(str(clip)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    return path.read_bytes()


def test_invalid_video_raises_and_leaves_no_file(
    trained: Path, clip: Path, here: Path, capsys: Capture
) -> None:
    whole = clip.read_bytes()
    cases = {
        "empty.mp4": (b"", "the video empty.mp4 cannot be read ("),
        "text.mp4": (b"no video\n" * 99, "the video text.mp4 cannot be read ("),
        "cut.mp4": (whole[: len(whole) // 2], "the video cut.mp4 cannot be read ("),
        "list.avi": (f"#EXTM3U\n#EXTINF:1,\n{clip}\n".encode(), "the video list.avi cannot be read ("),
    }
    for name, (content, part) in cases.items():
        Path(name).write_bytes(content)
        assert part in refused(capsys, _words(trained, name))
    started = _faststart(clip, here / "late.mp4")
    Path("late.mp4").write_bytes(started[: len(started) // 2])
    said = refused(capsys, _words(trained, "late.mp4", "--prediction_writer.video_masks", "true"))
    assert "the video late.mp4 cannot be read (" in said
    words = _words(trained, clip, "--prediction_writer.confidence", "true")
    assert "confidence true is for images" in refused(capsys, words)
    assert [path for path in here.rglob("*") if "lightning_logs" in str(path) and path.is_file()] == []


def test_file_without_video_stream_raises(here: Path) -> None:
    with av.open("sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UserError, match=r"sound\.mp4 has no video stream"):
        video_info(Path("sound.mp4"))


def test_missing_pyav_raises_with_install_command(
    trained: Path, clip: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert 'videos need PyAV. Install it: pip install "vocseg[video]"' in refused(
        capsys, _words(trained, clip)
    )


def test_video_is_predicted_with_windows_and_tta(trained: Path, clip: Path, here: Path) -> None:
    flags = ["--tta.flip", "true", "--original_resolution.sliding_window", "true"]
    main(_words(trained, clip, *flags, "--prediction_writer.output_dir", "out", "--json", "found.json"))
    found = json.loads(Path("found.json").read_text())
    assert (found["tta"], found["windows"]) == ("flip", "stride 0.5")
    assert video_info(Path("out/overlays/clip.mp4")).frames == FRAMES
