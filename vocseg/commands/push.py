"""`push`: weights as a folder or a repository that smp and vocseg load, with a model card."""

import tempfile
from pathlib import Path

from vocseg.checkpoints.weights import parameters_digest, read_weights
from vocseg.errors import UserError
from vocseg.utils.atomic_write import atomic_write


def push(
    ckpt_path: Path,
    to: str,
    private: bool = True,
    run: Path | None = None,
    panels: bool = False,
    dataset: str | None = None,
    license: str | None = None,
) -> str:
    """Write weights in smp's own format, with a model card, for `smp.from_pretrained` and `vocseg.load`.

    The card (README.md) has the score of the newest run of `test` of these weights, the curves and the
    settings of their training. It has no paths of this machine.

    Args:
        ckpt_path: `unet_voc.pth` or `.ckpt` file of a run.
        to: Folder, or `user/name` of the Hugging Face hub. A folder in another one is `./a/b`.
        private: Visibility of a new repository of the hub: true: only its owner sees it.
        run: Folder of the run of `test` for the card. Default: the newest that scored these weights.
        panels: Image of three scored images with masks in the card. Photographs have owners: use it only
            if yours may be published.
        dataset: Name of the data set in the card, as on the hub, for example user/name.
        license: Licence of the weights in the card, as on the hub, for example mit. Default: none is stated.

    Returns:
        The folder, or the address of the repository.

    Raises:
        UserError: If the weights cannot be read, `run` scored others, a file cannot be written, or the hub
            refuses.
    """
    from vocseg.inference.hub import is_repository, save_pretrained, upload
    from vocseg.report.load_run import read_scored
    from vocseg.report.model_card import CARD_IMAGES, Publication, model_card

    weights = read_weights(ckpt_path)
    if "://" in to or not to.strip():
        raise UserError(f"--to '{to}' is neither a folder nor a user/name of the hub. Give one of these.")
    remote = is_repository(to)
    found = read_scored(ckpt_path, parameters_digest(weights.state_dict), run)
    publication = Publication(to if remote else "FOLDER", dataset, license, panels)
    files = model_card(weights.description, ckpt_path, found, publication)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) if remote else Path(to)
        save_pretrained(weights, folder)
        for name, content in files.items():
            atomic_write(folder / name, content)
        for name in CARD_IMAGES.difference(files):  # of an earlier push
            (folder / name).unlink(missing_ok=True)
        where = upload(folder, to, private, CARD_IMAGES) if remote else to
    about = f"without a score of `test`. Run `python -m vocseg test --ckpt_path {ckpt_path}`, and push again"
    if found is not None and found.score:
        about = f"score of {found.folder}"
    print(f"wrote {where}. Model card: {about}.")
    print("Load it with\n")
    print(f'    model = vocseg.load("{to}")                                    # takes images')
    print(f'    model = segmentation_models_pytorch.from_pretrained("{to}")    # takes normalised tensors')
    return where
