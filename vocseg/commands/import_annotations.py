"""Tool `python -m vocseg import`: a data set from COCO's or labelme's annotations."""

import os
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from jsonargparse.typing import NonNegativeInt, OpenUnitInterval

from vocseg.data.annotations.annotated_image import AnnotatedImage, Annotations, Notes
from vocseg.data.annotations.coco import read_coco
from vocseg.data.annotations.labelme import read_labelme
from vocseg.data.annotations.pair_writer import PairWriter
from vocseg.data.class_files import class_text
from vocseg.data.raw_reader import in_threads
from vocseg.data.splits import held_out
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import AtomicFolder
from vocseg.utils.progress import follow

_READERS = {"coco": read_coco, "labelme": read_labelme}
_BACKGROUND = ("background", "_background_")  # the second is labelme's

_EMPTY = "images without annotations are all background (--skip_empty true leaves them out)"
_SKIPPED_EMPTY = "images without annotations are left out"
_MISSING = "images whose file is missing are left out"


def import_annotations(
    format: Literal["coco", "labelme"],
    source: Path,
    output: Path,
    val: Path | None = None,
    val_fraction: OpenUnitInterval | None = None,
    subset_seed: NonNegativeInt = 0,
    images: list[Path] | None = None,
    skip_empty: bool = False,
    skip_missing: bool = False,
    link: bool = False,
    progress: bool = True,
) -> Path:
    """Make a data set that trains at once from annotations: images, index masks, classes and lists.

    FORMAT, SRC and OUT stand first, without their flags. Where regions overlap, the one with fewer pixels is
    on top. Crowd regions of COCO, boxes without a region, and the label `__ignore__` of labelme are ignored.
    Classes come in the order of COCO's category ids, or sorted by name, after the background.

    Args:
        format: Format of the annotations: `coco` (instances JSON) or `labelme` (a JSON for each image).
        source: JSON file of COCO, or folder of labelme's JSON files.
        output: Folder of the new data set; written whole or not at all.
        val: Annotations of the images to score on, a second file or folder; null: drawn by `val_fraction`.
        val_fraction: Share of the images to score on, drawn as --data.val_fraction draws it; null: 0.2.
        subset_seed: Seed of this draw.
        images: Folder of the images, where it is not found; may be given several times.
        skip_empty: Leave images without annotations out; else they are all background.
        skip_missing: Leave images out whose file is missing; else that is an error.
        link: Hard links in place of copies of the images; the same disk is needed.
        progress: Show a progress bar.

    Raises:
        UserError: If annotations or images are wrong or missing, or the folder exists or cannot be written.
    """
    if os.path.lexists(output):
        raise UserError(f"{output} exists already. Name a folder that does not; nothing is overwritten")
    if val is not None and val_fraction is not None:
        raise UserError("--val names the images to score on, and --val_fraction draws them. Give one of them")
    read = _READERS[format]
    parts = {"train": read(source, images or [])}
    if val is not None:
        parts["val"] = read(val, images or [])
    notes: Notes = defaultdict(list)
    for part in parts.values():
        _settle(part, skip_empty, skip_missing, notes)
    names, classes = _classes(parts, source)
    lists = _lists(parts, 0.2 if val_fraction is None else val_fraction, subset_seed, source)
    _write(output, lists, classes, class_text(names, source), link, progress, notes)
    _tell(output, lists, names, notes)
    return output


def _settle(part: Annotations, skip_empty: bool, skip_missing: bool, notes: Notes) -> None:
    """Decide on images without a file or without annotations."""
    if part.missing and not skip_missing:
        more = f" (and {len(part.missing) - 1:,} more)" if len(part.missing) > 1 else ""
        raise UserError(
            f"the image '{shown(part.missing[0])}'{more} of the annotations is missing. Name its folder with "
            "--images, or leave such images out with --skip_missing true"
        )
    empty = [image.id for image in part.images if not image.shapes]
    if skip_empty:
        part.images[:] = [image for image in part.images if image.shapes]
    for text, found in (
        *part.notes.items(),
        (_MISSING, part.missing),
        (_SKIPPED_EMPTY if skip_empty else _EMPTY, empty),
    ):
        if found:
            notes[text] += found


def _classes(parts: dict[str, Annotations], source: Path) -> tuple[list[str], dict[str, int]]:
    """Names of the classes, and the index of each label."""
    labels: dict[int | str, str] = {}
    for part in parts.values():
        for key, label in part.labels.items():
            if labels.setdefault(key, label) != label:
                raise UserError(
                    f"the category {key} is '{shown(labels[key])}' in one file and '{shown(label)}' in "
                    "the other. Give it one name"
                )
    ordered = [labels[key] for key in sorted(labels, key=lambda key: (isinstance(key, str), key))]
    objects = [label for label in dict.fromkeys(ordered) if label.lower() not in _BACKGROUND]
    if not objects or not any(image.shapes for part in parts.values() for image in part.images):
        raise UserError(f"{source} has no region of any class. Name annotations with polygons or masks")
    indices = dict.fromkeys(ordered, 0) | {label: k for k, label in enumerate(objects, 1)}
    return ["background", *objects], indices


def _lists(
    parts: dict[str, Annotations], fraction: float, seed: int, source: Path
) -> dict[str, list[AnnotatedImage]]:
    """The images to train and to score on, each with an id of its own."""
    if len(parts) == 1:
        images = parts["train"].images
        _check_ids(images)
        if len(images) < 2:
            raise UserError(
                f"{source} has {len(images)} images, and a split needs 2. Annotate more, or name "
                "annotations of images to score on with --val"
            )
        scored = held_out([image.id for image in images], fraction, seed)
        return {
            name: [image for image in images if (image.id in scored) == (name == "val")]
            for name in ("train", "val")
        }
    lists = {name: part.images for name, part in parts.items()}
    for name, images in lists.items():
        if not images:
            raise UserError(f"the annotations of '{name}' have no image: name others")
    if {image.id for image in lists["train"]} & {image.id for image in lists["val"]}:
        lists = {
            name: [replace(image, id=f"{name}/{image.id}") for image in images]
            for name, images in lists.items()
        }
    _check_ids([*lists["train"], *lists["val"]])
    return lists


def _check_ids(images: Sequence[AnnotatedImage]) -> None:
    """Refuse two images of one id, and one file under two."""
    ids: dict[str, AnnotatedImage] = {}
    files: dict[Path, AnnotatedImage] = {}
    for image in images:
        twin = ids.setdefault(image.id, image)
        if twin is not image:
            raise UserError(
                f"two images have the id '{shown(image.id)}' ({twin.place} and {image.place}). "
                "Rename one, there and on the disk"
            )
        if image.file is None:
            continue
        twin = files.setdefault(image.file.resolve(), image)
        if twin is not image:
            raise UserError(
                f"the image {image.file} stands twice in the annotations, as '{shown(twin.id)}' and "
                f"'{shown(image.id)}', so that it counts twice, or in training and in the score. Remove one"
            )


def _write(
    output: Path,
    lists: dict[str, list[AnnotatedImage]],
    classes: dict[str, int],
    class_list: str,
    link: bool,
    progress: bool,
    notes: Notes,
) -> None:
    """Fill the folder beside its place, then give it its name."""
    folder, images = None, [*lists["train"], *lists["val"]]
    try:
        folder = AtomicFolder(output, alone=True)
        writer = PairWriter(folder, images, classes, link)
        for found in follow(in_threads(writer, range(len(images))), "importing", len(images), progress):
            for text, id in found:
                notes[text].append(id)
        ids = {name: [image.id for image in part] for name, part in lists.items()}
        for name, listed in (*ids.items(), ("trainval", sorted(ids["train"] + ids["val"]))):
            folder.write(f"ImageSets/Segmentation/{name}.txt", ("\n".join(listed) + "\n").encode())
        folder.write("classes.yaml", class_list.encode())
        folder.settle()
        folder.reveal()
    except OSError as fault:
        if isinstance(fault, UserError):
            raise
        raise UserError(
            f"{output} cannot be written ({fault.strerror}). Make room or name another folder"
        ) from fault
    finally:
        if folder is not None:
            folder.drop()


def _tell(output: Path, lists: dict[str, list[AnnotatedImage]], names: Sequence[str], notes: Notes) -> None:
    """Say what was written, what was left out, and what to type next."""
    print(f"imported {len(lists['train']):,} images to train on and {len(lists['val']):,} to score on")
    print(f"classes  {len(names)}: {shown(', '.join(names), 400)}")
    for text, found in notes.items():
        print(f"note     {len(found):,} {text} (first: {shown(found[0], 60)})")
    root, classes = shlex.quote(str(output)), shlex.quote(str(output / "classes.yaml"))
    print(f"data     {output}  (JPEGImages, SegmentationClass, ImageSets/Segmentation, classes.yaml)")
    print(f"next     python -m vocseg fit --data.root {root} --data.classes {classes}")
