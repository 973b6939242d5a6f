"""The whole story through the command line, in process."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vocseg
from tests.conftest import ROOT, TINY, tiny
from vocseg import constants
from vocseg.__main__ import TOOLS, VERBS, main
from vocseg.checkpoints.weights import read_weights, save_weights
from vocseg.cli import VocCLI
from vocseg.config.parser import RECIPES
from vocseg.data import voc
from vocseg.data.dataset import VOCSegmentation
from vocseg.data.samplers import SampleIndex
from vocseg.models.metadata import describe
from vocseg.models.module import SegmentationModule


def _cli(words: list[str]) -> VocCLI:
    cli = main(words)
    assert cli is not None
    return cli


def _scores(folder: Path) -> dict[str, dict[str, object]]:
    return json.loads((folder / "scores.json").read_text())  # type: ignore[no-any-return]


def test_fit_writes_weights_checkpoints_config_and_panels(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"unet_voc.pth", "best.ckpt", "last.ckpt", "config.yaml", "metrics.csv", "panels.png"} <= names
    with Image.open(trained / "panels.png") as picture:
        assert picture.width == 1024
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 100


def test_tensorboard_has_curves_by_group(trained: Path) -> None:
    events = EventAccumulator(str(trained)).Reload()
    tags = set(events.Tags()["scalars"])
    assert "hp_metric" not in tags
    assert {
        f"{name}/{stage}" for name in ("loss", "miou", "pixel_accuracy") for stage in ("train", "val")
    } <= tags
    assert {"loss/train_step", "optimizer/lr-Adam", "per_class_iou/person"} <= tags
    assert {"speed/images_per_s", "speed/data_wait"} <= tags
    assert sorted({tag.split("/")[0] for tag in tags})[:2] == ["loss", "miou"]  # what TensorBoard unfolds
    assert len(events.Scalars("miou/val")) == 2
    assert sorted(events.Tags()["images"]) == ["validation/confusion", "validation/panels"]
    assert len(events.Images("validation/panels")) == len(events.Images("validation/confusion")) == 2
    with Image.open(io.BytesIO(events.Images("validation/confusion")[-1].encoded_image_string)) as picture:
        assert min(picture.size) > 21 * 30
        red, _, blue = np.moveaxis(np.asarray(picture).astype(int), 2, 0)
    assert (blue > red + 60).sum() > 400  # what is right
    assert (red > blue + 60).sum() > 400  # what is wrong


def test_csv_has_curves_by_epoch(trained: Path) -> None:
    with (trained / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["miou/val"]]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(0 <= float(row["pixel_accuracy/val"]) <= 1 for row in rows)


def test_seed_determines_weights_but_not_subset(sample: Path, here: Path) -> None:
    flags = ["--data.augmentation", "light", "--data.max_train_samples", "8"]
    runs = [_cli(["fit", *tiny(sample), *flags, "--seed_everything", seed]) for seed in ("1", "1", "2")]
    assert [cli.datamodule.seed for cli in runs] == [1, 1, 2]
    assert len({tuple(cli.datamodule.parts["train"].split.ids) for cli in runs}) == 1
    folders = sorted((here / "lightning_logs" / "fit").iterdir())
    assert [folder.name for folder in folders] == ["version_0", "version_1", "version_2"]
    first, same, other = (read_weights(folder / "unet_voc.pth") for folder in folders)
    assert first.description == same.description
    assert all(torch.equal(value, same.state_dict[key]) for key, value in first.state_dict.items())
    assert any(not torch.equal(value, other.state_dict[key]) for key, value in first.state_dict.items())


def test_untrained_network_scores_near_zero(sample: Path, here: Path) -> None:
    module = SegmentationModule(encoder=TINY)
    save_weights(here / "untrained.pth", module, describe(module, 64, None))
    main(["test", "--ckpt_path", "untrained.pth", "--data.root", str(sample)])
    assert _scores(here / "lightning_logs/test/version_0")["input_resolution"]["mean_iou"] < 0.06  # type: ignore[operator]


def test_epoch_without_validation_has_no_scores_in_table(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--trainer.check_val_every_n_epoch", "2", "--trainer.max_epochs", "3"]
    main(["fit", *tiny(sample), *words, "--trainer.limit_train_batches", "1"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if re.match(r" +\d/3 ", line)]
    assert [row[2] == "-" for row in rows] == [True, False, True]  # loss on val
    assert [row[-1] == "best" for row in rows] == [False, True, False]
    title = next(line for line in lines if line.startswith("  epoch "))
    assert len(title.split()) == len(rows[0]) == 9
    assert rows[2][-1] == "0:00:00"  # time left
    assert max(map(len, lines[lines.index(title) - 1 :][:5])) < 80


def test_random_seed_is_saved_in_config(sample: Path, here: Path) -> None:
    cli = _cli(["fit", *tiny(sample), "--seed_everything", "true", "--trainer.limit_train_batches", "1"])
    recorded = yaml.safe_load((here / "lightning_logs/fit/version_0/config.yaml").read_text())
    assert type(recorded["seed_everything"]) is int
    assert cli.datamodule.seed == recorded["seed_everything"]


def test_fit_from_config_of_run_gives_same_score(trained: Path, here: Path) -> None:
    main(["fit", "--config", str(trained / "config.yaml"), "--trainer.default_root_dir", str(here)])
    again = read_weights(here / "lightning_logs/fit/version_0/unet_voc.pth")
    assert again.description["score"] == read_weights(trained / "unet_voc.pth").description["score"]


@pytest.mark.parametrize(("verb", "name"), [("validate", "best.ckpt"), ("test", "unet_voc.pth")])
def test_scoring_weights_gives_their_score(
    sample: Path, trained: Path, here: Path, capsys: pytest.CaptureFixture[str], verb: str, name: str
) -> None:
    cli = _cli([verb, "--ckpt_path", str(trained / name), "--data.root", str(sample)])
    assert cli.model.hparams["encoder"] == TINY
    assert cli.datamodule.image_size == 64
    size = "original resolution (predicted at 64x64)" if verb == "test" else "64x64"
    assert f"{verb}: val, 7 images at {size}" in capsys.readouterr().out
    found = _scores(here / "lightning_logs" / verb / "version_0")["input_resolution"]
    stamped = read_weights(trained / "unet_voc.pth").description["score"]
    assert found["mean_iou"] == pytest.approx(stamped["mean_iou"], abs=1e-3)
    assert np.sum(found["matrix"]) == np.sum(_labelled_pixels(sample))  # type: ignore[arg-type]
    assert not (here / "lightning_logs" / verb / "version_0" / "config.yaml").exists()


def _labelled_pixels(sample: Path) -> list[int]:
    folder = voc.find(sample)
    assert folder is not None
    masks = (Image.open(voc.mask_path(folder, id, "val")) for id in voc.split_ids(folder, "val"))
    return [int((np.asarray(mask.resize((64, 64), Image.Resampling.NEAREST)) != 255).sum()) for mask in masks]


def test_predict_folder_writes_masks_and_overlays_at_image_size(
    sample: Path, trained: Path, here: Path
) -> None:
    photos = here / "photos"
    photos.mkdir()
    for k, size in enumerate([(120, 80), (50, 200), (301, 77)]):
        Image.new("RGB", size, (k * 80, 100, 50)).save(photos / f"photo {k}.jpg")
    (photos / "notes.txt").write_text("no picture")
    main(["predict", "--ckpt_path", str(trained / "unet_voc.pth"), "--data.predict_dir", str(photos)])
    folder = here / "lightning_logs" / "predict" / "version_0"
    for k, size in enumerate([(120, 80), (50, 200), (301, 77)]):
        with Image.open(folder / "masks" / f"photo {k}.png") as mask:
            assert (mask.mode, mask.size) == ("P", size)
            palette = mask.getpalette()
            assert palette is not None
            assert tuple(palette[45:48]) == constants.PALETTE[15]
            assert np.asarray(mask).max() <= 20
        with Image.open(folder / "overlays" / f"photo {k}.jpg") as overlay:
            assert overlay.size == size
    assert len(list((folder / "masks").iterdir())) == 3


def test_finetune_compares_scores_before_and_after(
    sample: Path, trained: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--data.max_train_samples", "12", "--data.max_val_samples", "5", "--trainer.max_epochs", "2"]
    words = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(sample), *sizes]
    cli = _cli(["finetune", *words, "--model.lr", "1e-3"])
    said = capsys.readouterr().out
    assert "fine-tuning: val, 5 images at 64x64" in said
    assert "background" in said
    folder = here / "lightning_logs" / "finetune" / "version_0"
    scores = _scores(folder)
    assert scores["before"]["protocol"] == scores["after"]["protocol"]
    assert scores["before"]["matrix"] != scores["after"]["matrix"]
    assert (
        read_weights(folder / "unet_voc.pth").description["score"]["mean_iou"] == scores["after"]["mean_iou"]
    )
    assert cli.trainer.max_epochs == 2
    assert cli.model.optimizer_config.lr == 1e-3
    assert (folder / "config.yaml").is_file()


def test_finetune_defaults_equal_seed_recipe(here: Path, trained: Path) -> None:
    config = _printed(["finetune", "--ckpt_path", str(trained / "unet_voc.pth")])
    assert (config["data"]["max_train_samples"], config["data"]["max_val_samples"]) == (1000, 200)
    assert config["trainer"]["max_epochs"] == 5
    assert config["model"]["lr"] == 1e-4


@pytest.mark.parametrize("verb", ["finetune", "validate", "test", "predict"])
def test_verbs_other_than_fit_need_no_imagenet_weights(verb: str, trained: Path) -> None:
    config = _printed([verb, "--ckpt_path", str(trained / "unet_voc.pth")])
    assert config["model"]["encoder_weights"] is None


def test_fit_defaults_equal_seed_recipe(here: Path) -> None:
    config = _printed(["fit"])
    model = config["model"]
    wanted = {"arch": "unet", "encoder": "resnet34", "encoder_weights": "imagenet", "num_classes": 21}
    wanted |= {"lr": 1e-4, "optimizer": "adam", "lr_scheduler": "constant", "weight_decay": 0.0}
    assert {name: model[name] for name in wanted} == wanted
    loss: Any = model["loss"]
    weights = {"cross_entropy": 1.0, "dice": 0.0, "lovasz": 0.0}
    assert {name: loss[name] for name in weights} == weights
    data = config["data"]
    assert (data["root"], data["image_size"], data["batch_size"]) == ("data", 256, 4)
    assert (data["train_split"], data["val_split"], data["max_train_samples"]) == ("train", "val", None)
    assert config["trainer"]["max_epochs"] == 20


def _printed(words: list[str]) -> dict[str, dict[str, object]]:
    """What --print_config shows."""
    import contextlib
    import io

    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as exit:
        main([*words, "--print_config"])
    assert exit.value.code == 0
    return yaml.safe_load(text.getvalue())  # type: ignore[no-any-return]


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_recipe_parses_with_training_and_scoring(recipe: str, verb: str, trained: Path) -> None:
    words = [verb, "--config", recipe]
    assert _printed([*words, "--ckpt_path", str(trained / "unet_voc.pth")] if verb != "fit" else words)


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipe_header_has_cost_and_expected_score(recipe: Path) -> None:
    lines = recipe.read_text().splitlines()
    head = " ".join(line for line in lines if line.startswith("#"))
    assert "Cost:" in head
    assert "Expected score:" in head
    assert len(lines) <= 20


def test_recipes_compose_and_flags_override_them(here: Path) -> None:
    config = _printed(["fit", "--config", "demo", "--config", "early_stopping", "--model.lr", "0.5"])
    assert config["model"]["lr"] == 0.5
    assert str(config["data"]["root"]) == "data/sample"
    assert "EarlyStopping" in str(config["trainer"]["callbacks"])


def test_help_lists_every_command() -> None:
    cli: Any = SimpleNamespace(_verb="")  # none was typed
    assert set(VERBS) - {"resume"} == set(VocCLI.subcommands(cli))
    assert all(verb not in TOOLS for verb in VERBS)


def test_early_stopping_recipe_ends_run_early(sample: Path, here: Path) -> None:
    words = ["--config", "early_stopping", "--trainer.callbacks.patience", "2", "--trainer.max_epochs", "12"]
    words += ["--model.lr", "1e-12", "--image_panels.num_images", "0"]
    cli = _cli(["fit", *tiny(sample), *words])
    assert cli.trainer.current_epoch < 12
    assert (here / "lightning_logs/fit/version_0/unet_voc.pth").is_file()


@pytest.mark.parametrize(
    "flags",
    [
        [
            *("--trainer.precision", "bf16-mixed", "--trainer.accumulate_grad_batches", "2"),
            *("--trainer.gradient_clip_val", "0.5"),
        ],
        ["--trainer.logger", "false"],
        ["--trainer.enable_checkpointing", "false"],
        ["--trainer.limit_val_batches", "0"],
        ["--trainer.val_check_interval", "0.5", "--data.num_workers", "2"],
        [
            *("--trainer.enable_progress_bar", "true", "--best_weights.monitor", "loss/val"),
            *("--image_panels.num_images", "0"),
        ],
    ],
    ids=lambda flags: " ".join(flags),
)
def test_trainer_and_own_flags_keep_number_of_steps(sample: Path, here: Path, flags: list[str]) -> None:
    cli = _cli(["fit", *tiny(sample), *flags])
    steps = 5 * (cli.trainer.max_epochs or 0)
    accumulated = cli.trainer.accumulate_grad_batches
    assert cli.trainer.global_step == (steps if accumulated == 1 else -(-steps // accumulated))
    folder = here / "lightning_logs/fit/version_0"
    kept = "false" not in flags[1:] or flags[0] != "--trainer.enable_checkpointing"
    assert (folder / "last.ckpt").exists() == kept
    assert {path.name for path in here.iterdir()} == {"lightning_logs"}


def test_overfit_batches_repeats_first_images(
    sample: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[list[int]]] = {"train": [], "val": []}

    def noting(
        dataset: VOCSegmentation, draws: list[SampleIndex], usual: Any = VOCSegmentation.__getitems__
    ) -> Any:
        seen[dataset.split.name].append([draw.index for draw in draws])
        return usual(dataset, draws)

    monkeypatch.setattr(VOCSegmentation, "__getitems__", noting)
    flags = "--trainer.overfit_batches 2 --trainer.max_epochs 3 --trainer.num_sanity_val_steps 0"
    assert _cli(["fit", *tiny(sample), *flags.split()]).trainer.global_step == 6
    assert seen["train"] == 3 * [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [batch for batch in seen["val"] if len(batch) > 1] == 3 * [[0, 1, 2, 3], [4, 5, 6]]


def test_fast_dev_run_leaves_nothing_behind(sample: Path, trained: Path, here: Path) -> None:
    cli = _cli(["fit", *tiny(sample), "--trainer.fast_dev_run", "true"])
    assert cli.trainer.global_step == 1
    assert torch.isfinite(next(cli.model.parameters())).all()
    words = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(sample)]
    main(["test", *words, "--trainer.fast_dev_run", "true"])
    sizes = ["--data.max_train_samples", "8", "--data.max_val_samples", "4"]
    main(["finetune", *words, *sizes, "--trainer.fast_dev_run", "true"])
    assert not [path for path in here.rglob("*") if path.is_file()]


def test_fit_continues_checkpoint_and_starts_from_weights(
    sample: Path, trained: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = ["--trainer.max_epochs", "3"]
    cli = _cli(["fit", *tiny(sample), *longer, "--ckpt_path", str(trained / "last.ckpt")])
    assert cli.trainer.global_step == 15
    assert re.search(r" 3/3 ", out := capsys.readouterr().out)
    assert " 1/3 " not in out
    start = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(sample)]
    cli = _cli(["fit", *start, "--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1"])
    said = capsys.readouterr().out
    assert "with a new optimizer" in " ".join(said.split())
    assert " 1/1 " in said
    assert (cli.model.hparams["encoder"], cli.datamodule.image_size) == (TINY, 64)


def test_export_pth_is_state_dict_of_smp(trained: Path, here: Path) -> None:
    main(
        ["export", "--ckpt_path", str(trained / "unet_voc.pth"), "--format", "pth", "--output_file", "x.pth"]
    )
    model = smp.create_model("unet", TINY, None, classes=21)
    model.load_state_dict(torch.load("x.pth", weights_only=True))
    trained_state = read_weights(trained / "unet_voc.pth").state_dict
    assert all(torch.equal(value, trained_state[name]) for name, value in model.state_dict().items())


def test_monitored_class_without_pixels_is_not_better(sample: Path, here: Path) -> None:
    flags = ["--data.max_val_samples", "1", "--best_weights.monitor", "per_class_iou/sheep"]
    main(["fit", *tiny(sample), *flags, "--trainer.limit_train_batches", "1"])
    assert (here / "lightning_logs/fit/version_0/last.ckpt").is_file()


def test_flags_of_trainer_are_in_help_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "--help.trainer"):
        with pytest.raises(SystemExit):
            main(["fit", flag])
        text = capsys.readouterr().out
        assert ("--trainer.max_steps" in text) == (flag == "--help.trainer")
        assert ("--model.lr" in text) == (flag == "--help")


def test_terminal_shows_line_before_libraries_are_imported() -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "vocseg", "fit", "--help"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, cwd=ROOT) as process:
        first = os.read(ours, 100).decode()
        process.kill()
    assert first.strip() == f"vocseg {vocseg.__version__} fit: loading PyTorch and Lightning"
    os.close(ours)
    os.close(theirs)
