"""Training for new classes from weights of others."""

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor

from tests.conftest import TINY, tiny
from tests.data.test_class_files import FIVE, NAMES
from vocseg.__main__ import main
from vocseg.checkpoints.transfer import read_pretrained, transfer
from vocseg.checkpoints.weights import read_weights
from vocseg.data.classes import VOC_CLASSES, named_classes
from vocseg.errors import UserError
from vocseg.models.module import SegmentationModule

Capture = pytest.CaptureFixture[str]
HEAD = ("segmentation_head.0.weight", "segmentation_head.0.bias")
FIVE_CLASSES = named_classes(NAMES)


def _module(classes: int = 5) -> SegmentationModule:
    torch.manual_seed(1)
    return SegmentationModule(encoder=TINY, num_classes=classes)


def _state(module: SegmentationModule) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.network.model.state_dict().items()}


@pytest.fixture
def plain(trained: Path, tmp_path: Path) -> Path:
    """The same network as people without vocseg save it."""
    torch.save(dict(read_weights(trained / "unet_voc.pth").state_dict), tmp_path / "plain.pth")
    return tmp_path / "plain.pth"


@pytest.mark.parametrize("name", ["unet_voc.pth", "best.ckpt"])
def test_transfer_matches_head_rows_by_name_and_copies_the_rest(trained: Path, name: str) -> None:
    theirs = read_weights(trained / name).state_dict
    module = _module()
    fresh = _state(module)
    said = transfer(module, read_pretrained(trained / name), FIVE_CLASSES)
    assert "the rows of background, person are copied; new: animal, vehicle, indoors" in said
    state = _state(module)
    assert all(torch.equal(state[key], theirs[key]) for key in theirs if key not in HEAD)
    for key in HEAD:
        assert torch.equal(state[key][0], theirs[key][0])
        assert torch.equal(state[key][4], theirs[key][15])  # person
        assert torch.equal(state[key][1:4], fresh[key][1:4])


def test_transfer_to_reordered_classes_moves_rows(trained: Path) -> None:
    module = _module(21)
    theirs = read_weights(trained / "unet_voc.pth").state_dict
    transfer(module, read_pretrained(trained / "unet_voc.pth"), named_classes(VOC_CLASSES.names[::-1]))
    assert all(torch.equal(_state(module)[key], theirs[key].flip(0)) for key in HEAD)


def test_plain_state_dict_gives_encoder_and_decoder(plain: Path) -> None:
    module = _module()
    fresh, theirs = _state(module), torch.load(plain, weights_only=True)
    said = transfer(module, read_pretrained(plain), FIVE_CLASSES)
    assert "no row is copied; new: background, animal, vehicle, indoors, person" in said
    state = _state(module)
    assert all(torch.equal(state[key], fresh[key] if key in HEAD else theirs[key]) for key in state)


def test_plain_state_dict_of_equal_class_count_is_loaded_whole(plain: Path) -> None:
    module = _module(21)
    said = transfer(module, read_pretrained(plain), VOC_CLASSES)
    assert "does not name its 21 classes: they are assumed to be those of the data" in said
    theirs = torch.load(plain, weights_only=True)
    assert all(torch.equal(value, theirs[key]) for key, value in _state(module).items())


def test_plain_state_dict_of_another_network_raises(tmp_path: Path) -> None:
    torch.save(smp.create_model("unet", "resnet18", None, classes=3).state_dict(), tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x.pth: contains bare .* --model.arch and --model.encoder"):
        transfer(_module(), read_pretrained(tmp_path / "x.pth"), FIVE_CLASSES)


@pytest.mark.parametrize("arch", ["unet", "fpn", "segformer"])
def test_head_of_every_decoder_has_a_row_per_class(arch: str) -> None:
    few, more = (SegmentationModule(arch=arch, encoder=TINY, num_classes=classes) for classes in (3, 7))
    differ = {
        key
        for key, value in few.network.model.state_dict().items()
        if value.shape != more.network.model.state_dict()[key].shape
    }
    assert set(few.network.head) == differ


@pytest.mark.parametrize("name", ["last.ckpt", "plain.pth"])
def test_fit_starts_from_weights_of_other_classes(
    trained: Path, plain: Path, sample: Path, here: Path, capsys: Capture, name: str
) -> None:
    path = plain if name == "plain.pth" else trained / name
    (here / "five.yaml").write_text(FIVE)
    main(["fit", *tiny(sample), "--data.classes", "five.yaml", "--ckpt_path", str(path)])
    said = " ".join(capsys.readouterr().out.split())
    assert "new: " in said
    assert "with a new optimizer" in said
    made = here / "lightning_logs" / "fit" / "version_0" / "unet_voc.pth"
    assert read_weights(made).description["classes"] == NAMES


def test_finetune_with_other_classes_compares_no_scores(
    trained: Path, sample: Path, here: Path, capsys: Capture
) -> None:
    (here / "five.yaml").write_text(FIVE)
    words = ["--data.classes", "five.yaml", "--ckpt_path", str(trained / "unet_voc.pth")]
    parts = ["--data.max_train_samples", "8", "--data.max_val_samples", "4", "--data.root", str(sample)]
    main(["finetune", *words, *parts, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"])
    said = " ".join(capsys.readouterr().out.split())
    assert "the rows of background, person are copied" in said
    assert "before and after are not compared, as the classes differ" in said
    run = here / "lightning_logs" / "finetune" / "version_0"
    assert not (run / "per_image_confusion_before.npz").exists()
    assert read_weights(run / "unet_voc.pth").description["classes"] == NAMES
