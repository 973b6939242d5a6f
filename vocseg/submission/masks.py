"""Images of a split and a folder of masks for them."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from vocseg.data.voc import Layout, find, split_ids, split_list
from vocseg.errors import UserError
from vocseg.submission.archive import SERVER, encode
from vocseg.submission.check import Size, SubmissionFault, examine
from vocseg.utils.progress import follow


def find_images(root: Path, split: str) -> tuple[Layout, dict[str, Size]]:
    """Read the header of every image of a split.

    Returns:
        Their location, and their width and height by id: without EXIF rotation, as VOC's masks have none.

    Raises:
        UserError: If the data set, the split or an image is missing, or an image is corrupt.
    """
    folder = find(root)
    if folder is None:
        raise UserError(f"no VOC 2012 in {root}. Pass the folder that holds VOCdevkit/VOC2012 with --root.")
    if split == "test" and not split_list(folder, split).is_file():
        raise UserError(
            f"no split 'test' in {folder}: VOC2012test.tar is missing. Download it from {SERVER} "
            "(registration required) and unpack it over the same VOCdevkit, or rehearse with --split val."
        )
    layout = Layout(folder)
    return layout, {id: _size(layout.image(id)) for id in split_ids(folder, split)}


def _size(path: Path) -> Size:
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise UserError(f"the image {path} is missing. Restore it (test images: VOC2012test.tar).") from None
    except Exception as error:  # Pillow raises nearly anything on corrupt bytes
        raise UserError(f"the image {path} cannot be read: {error}. Restore it from the archive.") from error


def read_masks(
    folder: Path, sizes: Mapping[str, Size], progress: bool
) -> tuple[dict[str, bytes], list[SubmissionFault]]:
    """Read a folder of masks and encode them as PNG with VOC's palette.

    Args:
        folder: Holds `ID.png` for every image; other files are ignored.
        sizes: Width and height of every image, by id.
        progress: Show a progress bar.

    Returns:
        The valid masks by id, and the errors of the others.

    Raises:
        UserError: If there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"--masks_dir {folder}: no such folder. Pass a folder of masks ID.png.")
    masks: dict[str, bytes] = {}
    faults: list[SubmissionFault] = []
    for id, size in follow(sizes.items(), "reading masks", len(sizes), progress):
        path = folder / f"{id}.png"
        if not path.is_file():
            faults.append(SubmissionFault(str(path), "missing", ""))
            continue
        wrong, indices = examine(path.read_bytes(), size, allow_gray=True)
        faults += [SubmissionFault(str(path), *each) for each in wrong]
        if indices is not None and not wrong:
            masks[id] = encode(indices)
    return masks, faults
