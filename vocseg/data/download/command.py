"""`download`: fetches and unpacks the data sets."""

import shlex
from pathlib import Path
from typing import Literal

from vocseg.data import voc
from vocseg.data.download.retry import addresses
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
    """Get VOC 2012, or SBD's masks for its larger training list; what was stopped goes on.

    Args:
        root: Folder that gets `VOCdevkit/VOC2012`.
        dataset: `voc`: VOC 2012 train and val (2.0 GB to fetch); `sbd`: the masks and the list of `trainaug`,
            10,582 images (1.4 GB to fetch), on top of VOC, which is fetched first if it is missing.
        mirror: Address to ask before the known ones, http:// or https://; one that ends with / is a folder
            that holds the archive under its usual name. Give it once for each mirror.
        archive: The archive on this machine: used as it is, left where it is, nothing is fetched.
        only_mirrors: Ask the mirrors only, none of the known addresses.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If flags contradict each other, no source gives the right archive, or it cannot be stored.
    """
    if archive is not None and (mirror or only_mirrors):
        raise UserError("--archive names a file on this machine, nothing is fetched: leave out the mirrors")
    if only_mirrors and not mirror:
        raise UserError("--only_mirrors true leaves no address to ask: give at least one --mirror")
    if dataset == "sbd" and only_mirrors and voc.find(root) is None:
        raise UserError(f"SBD needs VOC 2012, which is not in {root}: get it first, with --dataset voc")
    get, name, known = (
        (download_voc, voc.ARCHIVE, voc.SOURCES)
        if dataset == "voc"
        else (download_sbd, voc.SBD_ARCHIVE, voc.SBD_SOURCES)
    )
    sources = addresses(mirror or [], name, known, only_mirrors)
    folder = get(root, sources, archive)
    flags = "" if root == Path("data") else f" --data.root {shlex.quote(str(root))}"
    flags += " --data.train_split trainaug" if dataset == "sbd" else ""
    print(f"next     python -m vocseg fit{flags}")
    return folder
