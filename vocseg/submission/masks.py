"""Images of a split and a folder of masks for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vocseg.data.voc import Layout, find, split_ids, split_list
from vocseg.errors import UserError
from vocseg.submission.archive import SERVER, encode
from vocseg.submission.check import Size, SubmissionFault, examine
from vocseg.utils.progress import follow


@dataclass(frozen=True)
class ImageSizes:
    """The images of a list.

    Attributes:
        split: The list's name.
        layout: Where they are.
        sizes: Width and height of each by id, as stored: VOC's masks take no note of how a camera was held.
    """

    split: str
    layout: Layout
    sizes: dict[str, Size]


def find_images(root: Path, split: str) -> ImageSizes:
    """Look at every image of a list, so that a missing one shows before the work.

    Raises:
        UserError: If there is no data set, no such list, or an image is missing or cannot be read.
    """
    folder = find(root)
    if folder is None:
        raise UserError(
            f"there is no VOC 2012 in {root}: name the folder that holds VOCdevkit/VOC2012 (--root)"
        )
    if split == "test" and not split_list(folder, split).is_file():
        raise UserError(
            f"there is no list 'test' in {folder}: it comes with its images as VOC2012test.tar from {SERVER} "
            "(after registering), to be unpacked over the same VOCdevkit; to rehearse, use --split val"
        )
    layout = Layout(folder)
    return ImageSizes(split, layout, {id: _size(layout.image(id)) for id in split_ids(folder, split)})


def _size(path: Path) -> Size:
    try:
        with Image.open(path) as picture:
            return picture.size
    except FileNotFoundError:
        raise UserError(
            f"the image {path} is missing: restore it (those of VOC's list test come as VOC2012test.tar)"
        ) from None
    except Exception as fault:  # PIL raises nearly anything on damaged bytes
        raise UserError(f"the image {path} cannot be read ({fault}): restore it from the archive") from fault


def read_masks(
    folder: Path, sizes: Mapping[str, Size], progress: bool
) -> tuple[dict[str, bytes], list[SubmissionFault]]:
    """The masks of a folder as PNGs with VOC's palette, and what is wrong with those that cannot be sent.

    Args:
        folder: Holds `ID.png` for every image; other files are left alone.
        sizes: Width and height of every image, by id.
        progress: Show a bar.

    Raises:
        UserError: If there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"--masks_dir {folder}: there is no such folder")
    masks: dict[str, bytes] = {}
    faults: list[SubmissionFault] = []
    for id, size in follow(sizes.items(), "reading masks", len(sizes), progress):
        path = folder / f"{id}.png"
        if not path.is_file():
            faults.append(SubmissionFault(str(path), "missing", "add it"))
            continue
        found = examine(path.read_bytes(), size)
        wrong = [
            SubmissionFault(str(path), *each) for each in found.wrong if each[0] != "grey"
        ]  # it gets a palette here
        if found.indices is not None and not wrong:
            masks[id] = encode(found.indices)
        faults += wrong
    return masks, faults
