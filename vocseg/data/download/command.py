"""`download`: data sets."""

import shlex
from pathlib import Path
from typing import Literal

from vocseg.data import voc
from vocseg.data.download.archive import addresses
from vocseg.data.download.sbd import download_sbd
from vocseg.data.download.voc import download_voc
from vocseg.errors import UserError


def download(
    root: Path = Path("data"),
    dataset: Literal["voc", "sbd"] = "voc",
    mirror: list[str] | None = None,
    archive: Path | None = None,
    only_mirrors: bool = False,
) -> Path:
    """Download and unpack VOC 2012, or SBD's masks for its larger training split; resumes if interrupted.

    Args:
        root: Folder that gets `VOCdevkit/VOC2012`.
        dataset: `voc`: VOC 2012 train and val (2.0 GB). `sbd`: masks and the split `trainaug` of 10,582
            images (1.4 GB), added to VOC, which is downloaded first if it is missing.
        mirror: URL to try before the known ones, http:// or https://. One that ends with / is a folder with
            the archive under its usual name. Repeat the flag for several mirrors.
        archive: Local archive, used instead of a download and not removed.
        only_mirrors: Try the mirrors only, none of the known URLs.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If flags contradict each other, no source has the right archive, or it cannot be stored.
    """
    if archive is not None and (mirror or only_mirrors):
        raise UserError("--archive downloads nothing. Remove --mirror and --only_mirrors.")
    if only_mirrors and not mirror:
        raise UserError("--only_mirrors true leaves no source. Pass at least one --mirror.")
    if dataset == "sbd" and only_mirrors and voc.find(root) is None:
        raise UserError(f"SBD needs VOC 2012, which is not in {root}. Download it first with --dataset voc.")
    install, name, known = (
        (download_voc, voc.ARCHIVE, voc.SOURCES)
        if dataset == "voc"
        else (download_sbd, voc.SBD_ARCHIVE, voc.SBD_SOURCES)
    )
    sources = addresses(mirror or [], name, known, only_mirrors)
    folder = install(root, sources, archive)
    flags = "" if root == Path("data") else f" --data.root {shlex.quote(str(root))}"
    flags += " --data.train_split trainaug" if dataset == "sbd" else ""
    print(f"next     python -m vocseg fit{flags}")
    return folder
