"""`import`: data set from COCO's or labelme's annotations."""

import os
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from jsonargparse.typing import NonNegativeInt, OpenUnitInterval

from vocseg.data.annotations.annotated_image import AnnotatedImage, Annotations, Notes, write_pair
from vocseg.data.annotations.coco import read_coco
from vocseg.data.annotations.labelme import read_labelme
from vocseg.data.classes import class_text
from vocseg.data.splits import held_out
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import AtomicFolder, UnwritableError
from vocseg.utils.progress import follow, in_threads

_READERS = {"coco": read_coco, "labelme": read_labelme}
_BACKGROUND = ("background", "_background_")  # the second is labelme's

_EMPTY = "images without annotations are all background (omit them: --skip_empty true)"
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
    progress: bool = True,
) -> Path:
    """Create a data set from annotations: images, index masks, class list and splits.

    FORMAT, SRC and OUT are positional. Of overlapping regions, the one with fewer pixels is on top. COCO's
    crowd regions, boxes without a region and labelme's label `__ignore__` are ignored (255). Classes are
    ordered by COCO's category id, or by name; background is first.

    Args:
        format: Format of the annotations: `coco` (instances JSON) or `labelme` (one JSON per image).
        source: JSON file of COCO, or folder of labelme's JSON files.
        output: Folder of the new data set; written atomically.
        val: Validation annotations, a second file or folder; null: split at random by `val_fraction`.
        val_fraction: Validation fraction, sampled as by --data.val_fraction; null: 0.2.
        subset_seed: Seed of the random split.
        images: Folder of the images, if not found automatically; repeat the flag for several folders.
        skip_empty: Omit images without annotations, which are all background otherwise.
        skip_missing: Omit images whose file is missing, which is an error otherwise.
        progress: Show a progress bar.

    Raises:
        UserError: If annotations or images are invalid or missing, or the folder exists or cannot be written.
    """
    if os.path.lexists(output):
        raise UserError(f"{output} exists already. Pass a new folder.")
    if val is not None and val_fraction is not None:
        raise UserError("--val and --val_fraction exclude each other. Pass one of them.")
    read = _READERS[format]
    parts = {"train": read(source, images or [])}
    if val is not None:
        parts["val"] = read(val, images or [])
    notes: Notes = defaultdict(list)
    for part in parts.values():
        _filter(part, skip_empty, skip_missing, notes)
    names, classes = _classes(parts, source)
    splits = _splits(parts, 0.2 if val_fraction is None else val_fraction, subset_seed, source)
    _write(output, splits, classes, class_text(names, source), progress, notes)
    _print_summary(output, splits, names, notes)
    return output


def _filter(part: Annotations, skip_empty: bool, skip_missing: bool, notes: Notes) -> None:
    """Handle images without a file or without annotations."""
    if part.missing and not skip_missing:
        more = f" (and {len(part.missing) - 1:,} more)" if len(part.missing) > 1 else ""
        raise UserError(
            f"the image '{shown(part.missing[0])}'{more} of the annotations is missing. Pass its folder with "
            "--images, or omit such images with --skip_missing true."
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
    """Class names, and the class index of each label."""
    labels: dict[int | str, str] = {}
    for part in parts.values():
        for key, label in part.labels.items():
            if labels.setdefault(key, label) != label:
                raise UserError(
                    f"the category {key} is '{shown(labels[key])}' in one file and '{shown(label)}' in "
                    "the other. Use one name."
                )
    ordered = [labels[key] for key in sorted(labels, key=lambda key: (isinstance(key, str), key))]
    objects = [label for label in dict.fromkeys(ordered) if label.lower() not in _BACKGROUND]
    if not objects or not any(image.shapes for part in parts.values() for image in part.images):
        raise UserError(f"{source} has no region of any class. Pass annotations with polygons or masks.")
    indices = dict.fromkeys(ordered, 0) | {label: k for k, label in enumerate(objects, 1)}
    return ["background", *objects], indices


def _splits(
    parts: dict[str, Annotations], fraction: float, seed: int, source: Path
) -> dict[str, list[AnnotatedImage]]:
    """Images of each split, with unique ids."""
    if len(parts) == 1:
        images = parts["train"].images
        _check_ids(images)
        if len(images) < 2:
            raise UserError(
                f"{source} has {len(images)} images, but a split needs 2. Annotate more, or pass "
                "validation annotations with --val."
            )
        val = held_out([image.id for image in images], fraction, seed)
        return {
            name: [image for image in images if (image.id in val) == (name == "val")]
            for name in ("train", "val")
        }
    splits = {name: part.images for name, part in parts.items()}
    for name, images in splits.items():
        if not images:
            raise UserError(f"the annotations of '{name}' have no image. Pass others.")
    if {image.id for image in splits["train"]} & {image.id for image in splits["val"]}:
        splits = {
            name: [replace(image, id=f"{name}/{image.id}") for image in images]
            for name, images in splits.items()
        }
    _check_ids([*splits["train"], *splits["val"]])
    return splits


def _check_ids(images: Sequence[AnnotatedImage]) -> None:
    """Check that no two images share an id or a file."""
    seen: dict[object, AnnotatedImage] = {}
    for image in images:
        for key in (image.id, *([image.file.resolve()] if image.file else [])):
            other = seen.setdefault(key, image)
            if other is not image:
                raise UserError(
                    f"the image '{shown(image.id)}' ({image.location}) has the id or the file of "
                    f"'{shown(other.id)}' ({other.location}). Rename or remove one, there and on disk."
                )


def _write(
    output: Path,
    splits: dict[str, list[AnnotatedImage]],
    classes: dict[str, int],
    class_list: str,
    progress: bool,
    notes: Notes,
) -> None:
    """Write to a temporary folder, then rename it."""
    images = [*splits["train"], *splits["val"]]
    ids = {name: [image.id for image in part] for name, part in splits.items()}
    try:
        folder = AtomicFolder(output, alone=True)
        try:
            written = in_threads(lambda image: write_pair(folder, image, classes), images)
            for found in follow(written, "importing", len(images), progress):
                for text, id in found:
                    notes[text].append(id)
            for name, listed in (*ids.items(), ("trainval", sorted(ids["train"] + ids["val"]))):
                folder.write(f"ImageSets/Segmentation/{name}.txt", ("\n".join(listed) + "\n").encode())
            folder.write("classes.yaml", class_list.encode())
            folder.settle()
            folder.reveal()
        finally:
            folder.drop()
    except OSError as error:
        raise UnwritableError(output, error) from error


def _print_summary(
    output: Path, splits: dict[str, list[AnnotatedImage]], names: Sequence[str], notes: Notes
) -> None:
    """Print the result, notes and the next command."""
    print(f"imported {len(splits['train']):,} training and {len(splits['val']):,} validation images")
    print(f"classes  {len(names)}: {shown(', '.join(names), 400)}")
    for text, found in notes.items():
        print(f"note     {len(found):,} {text} (first: {shown(found[0], 60)})")
    root, classes = shlex.quote(str(output)), shlex.quote(str(output / "classes.yaml"))
    print(f"data     {output}  (JPEGImages, SegmentationClass, ImageSets/Segmentation, classes.yaml)")
    print(f"next     python -m vocseg fit --data.root {root} --data.classes {classes}")
