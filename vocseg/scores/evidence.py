"""What a run that scores leaves beside its figures, for people who want to see what they stand for."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocseg.errors import UserError
from vocseg.whole_files import whole_file

FILE = "evidence.npz"
FOLDER = "predictions"
FORMAT = 1


@dataclass(frozen=True)
class Origin:
    """Where photographs and masks lie, and what the masks' values mean.

    Attributes:
        root: What the user gave as --data.root.
        folder: The one called `VOC2012` in it, from the root of the file system.
        image_folder: Of the photographs, within `folder`.
        image_suffix: Ending of their names; None: any.
        split: The list that was scored.
        names: Of the classes.
        colours: Of the classes, RGB.
        values: The values of each class in a mask file.
        void: Further values that are ignored.
        coloured: Whether masks may be RGB pictures in these colours.
        mask_folder: Of the masks, within `folder`; None: VOC's.
        mask_suffix: What follows an image's id in the name of its mask.
    """

    root: str
    folder: str
    image_folder: str
    image_suffix: str | None
    split: str
    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    values: tuple[tuple[int, ...], ...]
    void: tuple[int, ...]
    coloured: bool = False
    mask_folder: str | None = None
    mask_suffix: str = ".png"


@dataclass(frozen=True, eq=False)
class Evidence:
    """The images that were scored and where the network was sure of another class than the label.

    Their predictions are pictures beside it: `prediction_path`.

    Attributes:
        ids: Of the N images.
        regions: float32 `[N,R,8]`: see `vocseg.scores.disagreement`.
        origin: Where they come from.
    """

    ids: tuple[str, ...]
    regions: npt.NDArray[np.float32]
    origin: Origin

    def save(self, folder: Path) -> None:
        """Write `evidence.npz`, whole or not at all."""
        facts = json.dumps({"format": FORMAT, "ids": self.ids, "origin": asdict(self.origin)})
        with whole_file(folder / FILE) as file:
            np.savez_compressed(file, allow_pickle=False, facts=np.array(facts), regions=self.regions)


def prediction_path(folder: Path, id: str) -> Path:
    """The picture of an image's predicted classes in a run's folder; an id never leads out of it."""
    return folder / FOLDER / f"{id.replace('%', '%25').replace('/', '%2F')}.png"


def load_evidence(folder: Path) -> Evidence | None:
    """Read what `Evidence.save` wrote; None if the run left none.

    Raises:
        UserError: If the file is damaged, or of a newer version.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            regions, facts = np.asarray(archive["regions"], np.float32), json.loads(str(archive["facts"]))
        if facts["format"] > FORMAT:
            raise UserError(f"{path} was made by a newer vocseg: update vocseg")
        ids, origin = tuple(facts["ids"]), _origin(facts["origin"])
        if regions.ndim != 3 or len(regions) != len(ids):
            raise ValueError
        return Evidence(ids, regions, origin)
    except UserError:
        raise
    except Exception as fault:  # numpy, zip and zlib raise nearly anything on foreign or damaged bytes
        raise UserError(f"{path} is damaged: score the weights again with `test`") from fault


def _origin(plain: dict[str, Any]) -> Origin:
    tuples = {key: tuple(plain[key]) for key in ("names", "void")}
    tuples |= {key: tuple(tuple(each) for each in plain[key]) for key in ("colours", "values")}
    return Origin(**(plain | tuples))
