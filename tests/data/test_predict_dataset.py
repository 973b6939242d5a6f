"""Dataset of images without masks."""

import os
from pathlib import Path

import pytest
from PIL import Image

from vocseg.data.predict_dataset import ImageFolderDataset
from vocseg.errors import UserError


def _image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (200, 100, 50)).save(path)
    return path


def test_sub_folders_are_kept_in_result_names(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/deep er/ü 1.PNG", "a/x.webp"):
        _image(tmp_path / name)
    found = ImageFolderDataset(tmp_path, 64)
    assert found.names == ["a/deep er/ü 1", "a/x", "b"]
    assert [found.name_of(file) for file in found.files] == ["a/deep er/ü 1.PNG", "a/x.webp", "b.jpg"]
    assert found.other_files == {}
    assert [found[k]["index"] for k in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["web.png", "web.webp", "x.jpg"], ["web.png", "web.webp", "x.jpg"]),
        (["IMG.jpg", "img.png"], ["IMG.jpg", "img.png"]),  # one file where upper and lower case are the same
        (["a.jpg", "sub/a.jpg"], ["a", "sub/a"]),
        (["a.b.jpg", "a.jpg"], ["a.b", "a"]),
    ],
)
def test_equal_stems_keep_endings_in_result_names(tmp_path: Path, files: list[str], names: list[str]) -> None:
    for name in files:
        _image(tmp_path / name)
    found = ImageFolderDataset(tmp_path, 64)
    pairs = zip(map(found.name_of, found.files), found.names, strict=True)
    assert dict(pairs) == dict(zip(files, names, strict=True))


def test_other_files_are_listed_with_reason(tmp_path: Path) -> None:
    _image(tmp_path / "a.jpg")
    for name in ("notes.txt", "README", "clip.MP4", "._a.jpg"):
        (tmp_path / name).write_bytes(b"x")
    for folder in (".git", "lightning_logs", "masks", "overlays", "sub"):
        _image(tmp_path / folder / "b.jpg")
    (tmp_path / "again").symlink_to(".")
    found = ImageFolderDataset(tmp_path, 64)
    assert found.names == ["a", "sub/b"]
    parts = {
        "notes.txt": "not an image by its ending (.txt)",
        "README": "ending (none)",
        "clip.MP4": "a video: predict it alone",
        "._a.jpg": "hidden",
        ".git/": "hidden",
        "lightning_logs/": "results",
        "masks/": "results",
        "overlays/": "results",
        "again/": "a link to a folder",
    }
    assert found.other_files.keys() == parts.keys()
    for name, part in parts.items():
        assert part in found.other_files[name]


def test_masks_folder_without_overlays_is_searched(tmp_path: Path) -> None:
    _image(tmp_path / "masks" / "a.png")
    assert ImageFolderDataset(tmp_path, 64).names == ["masks/a"]


def test_single_image_accepts_any_suffix(tmp_path: Path) -> None:
    path = _image(tmp_path / "photo.jpg").rename(tmp_path / "photo.xyz")
    found = ImageFolderDataset(path, 64)
    assert (found.names, found.name_of(path)) == (["photo"], "photo.xyz")
    assert found[0]["image"].float().mean() > 50


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("https:/example.com/a.jpg", ["https://example.com/a.jpg is a URL", "Download the file"]),
        ("s3:/bucket/folder", ["s3://bucket/folder is a URL"]),
        ("no", ["no does not exist"]),
        ("no*.jpg", ["no*.jpg has no match: no file matches this pattern"]),
        ("blank.txt", ["blank.txt holds no image. Give"]),
        ("empty", ["empty holds no image. Give", ".heic"]),
        ("texts", ["texts holds no image (1.txt: not an image by its ending (.txt), ", "and 2 more"]),
    ],
)
def test_empty_predict_dir_raises_with_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.mov").write_bytes(b"x")
    Path("blank.txt").write_text("\n")
    for name in ("empty", "texts"):
        Path(name).mkdir()
    for k in range(5):
        Path(f"texts/{k + 1}.txt").touch()
    with pytest.raises(UserError, match="nothing to predict: ") as refusal:
        ImageFolderDataset(Path(source), 64)
    for part in parts:
        assert part in refusal.value.sentence


def test_unreadable_image_has_negative_index(tmp_path: Path) -> None:
    _image(tmp_path / "a.jpg")
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    (tmp_path / "c.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "d.jpg")
    found = ImageFolderDataset(tmp_path, 64)
    assert [found[k]["index"] for k in range(4)] == [0, -3, -4, -5]


def test_results_of_listed_paths_are_named_below_common_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jpg", "a/x/2.png", "b[1]/3.jpg"):
        _image(tmp_path / name)
    found = ImageFolderDataset(Path("*/**/*.*g"), 64)
    assert found.names == ["a/1", "a/x/2", "b[1]/3"]
    assert ImageFolderDataset(Path("b[1]"), 64).names == ["3"]  # a folder of that name, and no pattern
    Path("a/clip.mp4").write_bytes(b"x")
    Path("a/list.txt").write_text("a/x/2.png\n\n1.jpg\na/x/2.png\na/gone.jpg\nlost.jpg\na/clip.mp4\na/x\n")
    for source in ("a/list.txt", "@a/list.txt"):
        found = ImageFolderDataset(Path(source), 64)
        # The second counts from the list's own folder. Those that are missing fail when they are read.
        assert found.names == ["x/2", "1", "gone", "../lost"]
        assert found.other_files.keys() == {"clip.mp4", "x/"}
    Path("raw.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"raw\.txt cannot be read \(it is not text in UTF-8\)"):
        ImageFolderDataset(Path("raw.txt"), 64)


def test_image_of_a_batch_waits_in_memory_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ImageFolderDataset(_image(tmp_path / "a.png"), 64)
    assert found[0]["index"] == 0
    assert found._kept == {}  # a stock DataLoader never takes it
    found.keep = True
    assert found[0]["index"] == 0
    (tmp_path / "a.png").unlink()
    assert found.full_image(0).shape == (6, 8, 3)
    with pytest.raises(UserError, match=r"a\.png is missing"):
        found.full_image(0)
