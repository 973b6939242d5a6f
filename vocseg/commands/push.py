"""`push`: weights as a folder or a repository that smp and vocseg load."""

import tempfile
from pathlib import Path

from vocseg.checkpoints.weights import read_weights
from vocseg.errors import UserError


def push(ckpt_path: Path, to: str, private: bool = True) -> str:
    """Write weights in smp's own format, so that `smp.from_pretrained` and `vocseg.load` read them.

    Args:
        ckpt_path: `unet_voc.pth` or `.ckpt` file of a run.
        to: Folder, or `user/name` of the Hugging Face hub. A folder in another one is `./a/b`.
        private: Visibility of a new repository of the hub: true: only its owner sees it.

    Returns:
        The folder, or the address of the repository.

    Raises:
        UserError: If the weights cannot be read, a file cannot be written, or the hub refuses.
    """
    from vocseg.inference.hub import hub_error, is_repository, save_pretrained

    weights = read_weights(ckpt_path)
    if "://" in to or not to.strip():
        raise UserError(f"--to '{to}' is no folder and no user/name of the hub. Give one of these.")
    if not is_repository(to):
        save_pretrained(weights, Path(to))
        where = to
    else:
        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as folder:
            save_pretrained(weights, Path(folder))
            try:
                api = HfApi()
                address = api.create_repo(to, private=private, exist_ok=True)
                api.upload_folder(repo_id=to, folder_path=folder, commit_message="vocseg push")
            except Exception as error:  # the hub's client raises errors of its own, of httpx, and OSError
                raise hub_error(to, error) from error
        where = str(address)
    print(f"wrote {where}. Load it with\n")
    print(f'    model = vocseg.load("{to}")                                    # takes images')
    print(f'    model = segmentation_models_pytorch.from_pretrained("{to}")    # takes normalised tensors')
    return where
