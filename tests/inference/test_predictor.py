"""Three lines of Python: `load`, call, result."""

import json
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vocseg.__main__ import main
from vocseg.data import voc
from vocseg.errors import UserError
from vocseg.inference.predictor import Predictor, load
from vocseg.inference.result import Result

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(trained: Path, one_thread: None) -> Predictor:
    return load(trained / "unet_voc.pth")


@pytest.fixture(scope="module")
def photos(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images, one of them in a sub-folder and turned by EXIF."""
    folder, source = tmp_path_factory.mktemp("photos"), voc.find(sample)
    assert source is not None
    first, *others = (voc.image_path(source, id) for id in voc.split_ids(source, "val"))
    for path in others:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "phone").mkdir()
    exif = Image.Exif()
    exif[274] = 6
    Image.open(first).save(folder / "phone/turned.jpg", exif=exif, quality=95)
    return folder


@pytest.fixture(scope="module")
def results(model: Predictor, photos: Path) -> dict[str, Result]:
    return {result.name: result for result in model(photos)}


def _one(photos: Path) -> Path:
    return sorted(photos.glob("*.jpg"))[0]


def test_results_equal_files_of_predict(
    trained: Path, photos: Path, results: dict[str, Result], here: Path
) -> None:
    words = ["--data.predict_dir", str(photos), "--data.batch_size", "1"]
    words += ["--prediction_writer.output_dir", "verb"]
    main(["predict", "--ckpt_path", str(trained / "unet_voc.pth"), "--trainer.accelerator", "cpu", *words])
    written = json.loads(Path("verb/predictions.json").read_text())["images"]
    assert len(results) == len(written) == 7
    for file, facts in written.items():
        result = results[file.removesuffix(".jpg")]
        assert result.path == photos / file
        assert (np.asarray(Image.open(f"verb/{facts['mask']}")) == result.mask).all()
        assert result.classes == {name: area["share"] for name, area in facts["classes"].items()}
        assert result.save("own") == {kind: facts[kind] for kind in ("mask", "overlay")}
        for kind in ("mask", "overlay"):
            assert Path("own", facts[kind]).read_bytes() == Path("verb", facts[kind]).read_bytes()


def test_all_source_types_give_same_mask(model: Predictor, photos: Path, here: Path) -> None:
    path = _one(photos)
    with Image.open(path) as picture:
        pixels = np.array(picture)
        wanted = model(pixels).mask
        singles = [path, str(path), picture, torch.from_numpy(pixels).permute(2, 0, 1)]
        assert all((model(source).mask == wanted).all() for source in singles)
        listed = list(model([*singles, pixels]))
    assert all((result.mask == wanted).all() for result in listed)
    assert len({result.name for result in listed}) == len(listed)
    Path("list.txt").write_text(f"{path}\n\n{photos / 'phone/turned.jpg'}\n{path}\n")
    assert [result.path for result in model("list.txt")] == [path, photos / "phone/turned.jpg"]
    assert [result.name for result in model("@list.txt")] == [path.stem, "phone/turned"]
    found = list(model(photos / "**/*.jpg"))
    assert len(found) == 7
    grey = model(pixels[..., 0])
    assert (grey.mask == model(pixels[..., :1].repeat(3, 2)).mask).all()


def test_exif_orientation_is_applied(results: dict[str, Result], photos: Path) -> None:
    with Image.open(photos / "phone/turned.jpg") as stored:
        assert results["phone/turned"].mask.shape == stored.size  # height and width are exchanged
        assert results["phone/turned"].probabilities.shape[1:] == stored.size


def test_several_images_are_predicted_lazily(model: Predictor, photos: Path) -> None:
    read = 0

    def endless() -> Iterator[Path]:
        nonlocal read
        while True:
            read += 1
            yield _one(photos)

    results = model(endless())
    assert read == 0
    assert {next(results).path for _ in range(3)} == {_one(photos)}
    assert read <= 3 + 2 * torch.get_num_threads()
    assert isinstance(results, Generator)
    results.close()


def test_eight_threads_give_same_masks(model: Predictor, results: dict[str, Result]) -> None:
    paths = [result.path for result in results.values()] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(model, paths))
    for wanted, result in zip([*results.values()] * 4, found, strict=True):
        assert (result.mask == wanted.mask).all()
        assert torch.allclose(result.logits, wanted.logits, atol=1e-5)


def test_probabilities_are_softmax_at_original_resolution(results: dict[str, Result]) -> None:
    result = next(iter(results.values()))
    found = result.probabilities
    full = torch.nn.functional.interpolate(result.logits[None], result.mask.shape, mode="bilinear")
    assert (found.dtype, found.shape) == (np.float32, (21, *result.mask.shape))
    assert np.abs(found - full.softmax(1)[0].numpy()).max() < 1e-6
    assert np.abs(found.max(0) * 255 - result.confidence).max() < 0.51
    assert sum(result.classes.values()) == pytest.approx(1)


def test_load_and_call_options_equal_predict_flags(trained: Path, photos: Path, here: Path) -> None:
    path, weights = _one(photos), str(trained / "unet_voc.pth")
    ways: dict[str, tuple[dict[str, Any], list[str]]] = {
        "variants": ({"flip": True, "scales": (0.5, 1)}, ["--tta.flip", "true", "--tta.scales", "[0.5,1]"]),
        "windows": (
            {"window_stride": 1.0},
            ["--original_resolution.sliding_window", "true", "--original_resolution.window_stride", "1"],
        ),
    }
    masks = {name: load(weights, device="cpu", **options)(path).mask for name, (options, _) in ways.items()}
    assert (masks["variants"] != masks["windows"]).any()
    for name, (_, flags) in ways.items():
        words = ["--data.predict_dir", str(path), "--prediction_writer.output_dir", name, *flags]
        main(["predict", "--ckpt_path", weights, "--trainer.accelerator", "cpu", *words])
        assert (np.asarray(Image.open(f"{name}/masks/{path.stem}.png")) == masks[name]).all()


def test_unreadable_images_of_folder_are_omitted_with_warning(
    model: Predictor, photos: Path, here: Path
) -> None:
    Path("mixed").mkdir()
    Path("mixed/a.jpg").write_bytes(_one(photos).read_bytes())
    Path("mixed/b.jpg").write_bytes(_one(photos).read_bytes()[:500])
    Path("mixed/c.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="left out: the image mixed/") as seen:
        assert [result.name for result in model("mixed")] == ["a"]
    assert len(seen) == 2
    Path("list.txt").write_text("mixed/a.jpg\nmixed/gone.jpg\n")
    with pytest.warns(UserWarning, match=r"gone\.jpg is missing"):
        assert [result.name for result in model("list.txt")] == ["a"]
    results = model(
        ["mixed/a.jpg", "mixed/b.jpg"]
    )  # named by the caller: none may be missing from the results
    assert next(results).name == "a"
    with pytest.raises(UserError, match=r"mixed/b\.jpg cannot be read"):
        next(results)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("gone.jpg", "gone.jpg does not exist"),
        ("https://example.com/a.jpg", "is a URL"),
        ("gone.mp4", "gone.mp4 does not exist"),
        ("gone/*.jpg", "no file matches this pattern"),
        ("gone.txt", "gone.txt cannot be read"),
        (np.zeros((4, 5, 3)), "the ndarray float64 [4, 5, 3] is not an image. Give a path"),
        (np.zeros((4, 5, 2), np.uint8), "uint8 [4, 5, 2] is not an image"),
        (np.zeros((0, 5, 3), np.uint8), "uint8 [0, 5, 3] is not an image"),
        (torch.zeros(3, 4, 5), "the Tensor torch.float32 [3, 4, 5] is not an image"),
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), "uint8 [1, 3, 4, 5] is not an image"),
        (5, "the int is not an image"),
    ],
)
def test_invalid_source_raises_with_reason(model: Predictor, here: Path, source: Any, part: str) -> None:
    with pytest.raises(UserError) as error:
        model(source)
    assert part in error.value.sentence


def test_window_stride_out_of_range_raises(trained: Path) -> None:
    with pytest.raises(UserError, match="window_stride 0 is out of range"):
        load(trained / "unet_voc.pth", window_stride=0.0)
