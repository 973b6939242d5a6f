"""A logger that fails costs curves and one warning: training and checkpoints go on."""

import errno
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tests.conftest import refused, tiny
from vocseg.__main__ import main
from vocseg.loggers import AppendCSVLogger, VocTensorBoardLogger

SHORT = ["--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"]
SHORT += ["--trainer.num_sanity_val_steps", "0", "--trainer.log_every_n_steps", "1"]


@pytest.mark.parametrize(
    ("kind", "method"),
    [(AppendCSVLogger, "save"), (VocTensorBoardLogger, "log_metrics"), (VocTensorBoardLogger, "finalize")],
)
def test_logger_on_full_disk_warns_once_and_training_continues(
    sample: Path, here: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Any], method: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kind, method, full)
    with pytest.warns(UserWarning, match=f"vocseg: {kind.__name__} cannot write to") as said:
        main(["fit", *tiny(sample), *SHORT])
    assert len([each for each in said if "vocseg: " in str(each.message)]) == 1
    assert (here / "lightning_logs/fit/version_0/unet_voc.pth").is_file()
    assert (here / "lightning_logs/fit/version_0/last.ckpt").is_file()


def test_tensorboard_on_full_disk_loses_only_curves(sample: Path, here: Path) -> None:
    """A real full disk, for the curves of a logger that a user adds."""
    (here / "small").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(here / "small")]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        logger = ["--trainer.logger", "lightning.pytorch.loggers.TensorBoardLogger"]
        logger += ["--trainer.logger.save_dir", "small"]
        with pytest.warns(UserWarning, match="vocseg: "):
            main(["fit", *tiny(sample), *SHORT, *logger])
    finally:
        subprocess.run(["umount", "-l", str(here / "small")], check=True)
    run = here / "lightning_logs/fit/version_0"
    assert (run / "unet_voc.pth").is_file()
    assert (run / "metrics.csv").read_text().count("\n") > 2


def test_settings_are_in_hparams_without_a_point_in_the_curves(trained: Path, tested: Path) -> None:
    for folder, measure in ((trained, 2), (tested, 1)):
        events = EventAccumulator(str(folder)).Reload()
        content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        found = HParamsPluginData.FromString(content).session_start_info.hparams
        assert found["data.image_size"].number_value == 64
        assert found["model.arch"].string_value
        assert all(value.string_value != "null" for value in found.values())
        assert len(events.Scalars("miou/val")) == measure
    layout = EventAccumulator(str(trained)).Reload().Tensors("custom_scalars__config__")[0]
    tags = layout_pb2.Layout.FromString(layout.tensor_proto.string_val[0]).category[0].chart[0].multiline.tag
    logged = EventAccumulator(str(trained)).Reload().Tags()["scalars"]
    assert {name for name in logged for tag in tags if re.search(tag, name)} == {"loss/train", "loss/val"}


def test_images_have_the_step_of_their_scores(trained: Path) -> None:
    events = EventAccumulator(str(trained)).Reload()
    steps = [event.step for event in events.Scalars("miou/val")]
    for name in ("validation/panels", "validation/confusion"):
        assert [event.step for event in events.Images(name)] == steps


def test_other_loggers_get_curves_settings_panels_and_confusion(sample: Path, here: Path) -> None:
    cli = main(["fit", *tiny(sample), *SHORT, "--trainer.logger", "tests.recording_logger.RecordingLogger"])
    assert cli is not None
    logger: Any = cli.trainer.loggers[-1]
    assert {"loss/train", "loss/val", "miou/val", "per_class_iou/cat", "lr-Adam"} <= {
        name.partition("/pg")[0] for name in logger.metrics
    }
    assert (logger.settings["data.image_size"], logger.settings["model.optimizer"]) == (64, "adam")
    assert {*logger.images} == {"validation/panels", "validation/confusion"}
    assert all(step == 1 and min(image.size) > 100 for ((step, image),) in logger.images.values())


@pytest.mark.parametrize(("early", "reason"), [("true", "no server at 127.0.0.1"), ("false", "Log in first")])
def test_unusable_logger_raises_before_training(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str], early: str, reason: str
) -> None:
    flags = ["--trainer.logger", "tests.recording_logger.UnreachableLogger", "--trainer.logger.early", early]
    said = refused(capsys, ["fit", *tiny(sample), *SHORT, *flags])
    assert "--trainer.logger: the logger cannot be used (" in said
    assert reason in said
    assert not list(here.glob("lightning_logs/fit/*"))
