"""The Python API with a plain `pl.Trainer`, stock loaders and bare loops."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

import vocseg
from tests.conftest import ROOT, TINY
from tests.forks import Forked, free_port
from vocseg.__main__ import main
from vocseg.callbacks.best_weights import BestWeights
from vocseg.checkpoints.weights import load_network, read_weights
from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import UserError
from vocseg.models.module import SegmentationModule

EPOCHS, BATCHES = 4, 5
Seen = dict[int, list[tuple[list[int], str]]]  # by epoch: images and their pixels of each batch

pytestmark = pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")


class Watch(pl.Callback):
    """Notes the batches that a run trains and validates on."""

    def __init__(self) -> None:
        self.trained: Seen = {}
        self.validated: list[int] = []  # images of the newest validation
        self.validations: list[int] = []  # epochs with one

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pixels = batch["image"].contiguous().numpy().tobytes() + batch["mask"].numpy().tobytes()
        seen = (batch["index"].tolist(), str(hash(pixels)))
        self.trained.setdefault(trainer.current_epoch, []).append(seen)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.validated = []
        self.validations += [] if trainer.sanity_checking else [trainer.current_epoch]

    def on_validation_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.validated += batch["index"].tolist()


def _data(sample: Path, **options: Any) -> VOCDataModule:
    return VOCDataModule(root=sample, image_size=32, augmentation="crops", **options)


def _module(**options: Any) -> SegmentationModule:
    pl.seed_everything(3, verbose=False)
    return SegmentationModule(encoder=TINY, lr=1e-3, **options)


def _trainer(folder: Path, *callbacks: pl.Callback, epochs: int = EPOCHS, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def _every(folder: Path, **when: int) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", save_top_k=-1, auto_insert_metric_name=False, **when)


@pytest.fixture(scope="module")
def whole(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seen, dict[str, Any]]:
    """A run that nobody broke off: its checkpoints, what it saw, and its weights."""
    root, watch, module = tmp_path_factory.mktemp("whole"), Watch(), _module()
    saves = _every(root / "epochs", every_n_epochs=1), _every(root / "steps", every_n_train_steps=1)
    _trainer(root, watch, *saves).fit(module, _data(sample))
    return root, watch.trained, module.state_dict()


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_epochs_differ_in_order_and_augmentation(whole: tuple[Path, Seen, dict[str, Any]]) -> None:
    seen = whole[1]
    assert sorted(seen) == list(range(EPOCHS))
    for batches in seen.values():
        assert sorted(index for batch, _ in batches for index in batch) == list(range(20))
    assert len({json.dumps(batches) for batches in seen.values()}) == EPOCHS
    pixels = [{json.dumps(batch): pixels for batch, pixels in batches} for batches in seen.values()]
    assert len({pixels for epoch in pixels for pixels in epoch.values()}) == EPOCHS * BATCHES


@pytest.mark.parametrize("name", ["epochs/10.ckpt", "steps/7.ckpt", "steps/10.ckpt", "steps/11.ckpt"])
def test_resume_with_plain_trainer_equals_uninterrupted_run(
    sample: Path, whole: tuple[Path, Seen, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    root, seen, weights = whole
    watch, module, done = Watch(), _module(), int(Path(name).stem)
    _trainer(tmp_path, watch).fit(module, _data(sample), ckpt_path=root / name)
    wanted = {epoch: batches for epoch, batches in seen.items() if epoch >= done // BATCHES}
    wanted[done // BATCHES] = wanted[done // BATCHES][done % BATCHES :]
    assert watch.trained == wanted
    assert watch.validated == list(range(7))
    first = 1 if name in ("steps/7.ckpt", "steps/10.ckpt") else 2
    assert watch.validations == list(range(first, EPOCHS))
    assert _same(module.state_dict(), weights)


@pytest.mark.parametrize(
    ("options", "first", "steps"),
    [
        ({"val_check_interval": 0.4, "limit_val_batches": 1}, [0, 0, 1, 1], (2, 3, 5, 7)),
        ({"check_val_every_n_epoch": 2, "limit_val_batches": 1}, [1], (3, 5)),
    ],
)
def test_resume_from_step_validates_as_uninterrupted_run(
    sample: Path, tmp_path: Path, options: dict[str, Any], first: list[int], steps: tuple[int, ...]
) -> None:
    whole, saves = Watch(), _every(tmp_path / "steps", every_n_train_steps=1)
    _trainer(tmp_path, whole, saves, epochs=2, **options).fit(_module(), _data(sample))
    assert whole.validations == first
    for step in steps:
        rest = Watch()
        path = tmp_path / f"steps/{step}.ckpt"
        _trainer(tmp_path, rest, epochs=2, **options).fit(_module(), _data(sample), ckpt_path=path)
        done = sum(step > due for due in (2, 4, 7, 9)) if len(first) > 1 else 0
        assert rest.validations == first[done:]


@pytest.mark.parametrize("schedule", ["constant", "poly"])
def test_resume_with_loaders_equals_uninterrupted_run(sample: Path, tmp_path: Path, schedule: str) -> None:
    def fit(module: SegmentationModule, *callbacks: pl.Callback, path: Path | None = None) -> None:
        data = _data(sample)
        loaders = data.train_dataloader(), data.val_dataloader()
        _trainer(tmp_path, *callbacks, epochs=3).fit(module, *loaders, ckpt_path=path)

    whole, rest = Watch(), Watch()
    fit(_module(lr_scheduler=schedule), whole, _every(tmp_path / "steps", every_n_train_steps=7))
    fit(_module(lr_scheduler=schedule), rest, path=tmp_path / "steps/7.ckpt")
    assert rest.trained == {1: whole.trained[1][2:], 2: whole.trained[2]}


def test_checkpoint_of_plain_trainer_works_in_python_and_verbs(
    sample: Path, whole: tuple[Path, Seen, dict[str, Any]], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = whole[0] / "epochs/20.ckpt"
    read = read_weights(path)
    assert (read.description["size"], read.description["encoder"]) == (32, TINY)
    assert read.description["data"]["val"]["images"] == 7
    assert read.description["score"]["protocol"]["images"] == 7
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    network, module = load_network(path), SegmentationModule.load_from_checkpoint(path)
    module.load_state_dict(whole[2])
    assert torch.equal(network(image), module.eval()(image))
    data = ["--data.root", str(sample), "--trainer.accelerator", "cpu"]
    (here / "photos").mkdir()
    picture = next((sample / "VOCdevkit/VOC2012/JPEGImages").iterdir())
    (here / "photos" / picture.name).write_bytes(picture.read_bytes())
    few = ["--data.max_val_samples", "2"]
    main(["test", "--ckpt_path", str(path), *data, *few])
    main(["validate", "--ckpt_path", str(path), *data, *few])
    main(
        ["predict", "--ckpt_path", str(path), "--data.predict_dir", "photos", "--trainer.accelerator", "cpu"]
    )
    main(["export", "--ckpt_path", str(path), "--format", "pth"])
    main(["submit", "--ckpt_path", str(path), "--root", str(sample), "--split", "val"])
    small = ["--trainer.max_epochs", "1", "--data.max_train_samples", "8", "--data.max_val_samples", "4"]
    main(["finetune", "--ckpt_path", str(path), *data, *small])
    longer = ["--trainer.max_epochs", "5", "--data.augmentation", "crops"]
    main(["fit", "--ckpt_path", str(path), *data, *longer])
    assert " 5/5 " in capsys.readouterr().out


@pytest.mark.parametrize("kind", [ModelCheckpoint, BestWeights])
def test_best_checkpoint_scores_as_recorded(sample: Path, tmp_path: Path, kind: Any) -> None:
    best = kind() if kind is BestWeights else kind(tmp_path, monitor="miou/val", mode="max")
    trainer, module, data = _trainer(tmp_path, best, epochs=2), _module(), _data(sample)
    assert best.best_model_path == ""
    trainer.fit(module, data)
    value = float(best.value if kind is BestWeights else best.best_model_score)
    for score in (trainer.validate, trainer.test):
        found = score(module, data, ckpt_path="best", verbose=False)
        assert found[0]["miou/val"] == pytest.approx(value)
    if kind is BestWeights:
        folder = Path(str(trainer.log_dir))
        assert best.best_model_path == str(folder / "best.ckpt")
        recorded = read_weights(folder / "unet_voc.pth").description["score"]["mean_iou"]
        assert recorded == pytest.approx(value)


def test_load_from_checkpoint_restores_classes(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(
        "classes:\n  - background\n  - {name: thing, merge: [bird, cat], colour: [1, 2, 3]}\n"
    )
    data = _data(sample, classes=tmp_path / "classes.yaml")
    trainer, module = _trainer(tmp_path, epochs=1), _module(num_classes=2)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    loaded = SegmentationModule.load_from_checkpoint(tmp_path / "own.ckpt")
    assert loaded.class_list.names == ("background", "thing")
    assert loaded.class_list.colours[1] == (1, 2, 3)
    assert VOCDataModule.load_from_checkpoint(tmp_path / "own.ckpt", root=sample).root == sample
    with pytest.raises(UserError, match=r"--model.num_classes 21: the masks have 2 classes"):
        _trainer(tmp_path, epochs=1).fit(_module(), data)


def test_repeated_fit_gives_equal_results(sample: Path, tmp_path: Path) -> None:
    data, module = _data(sample), _module(lr_scheduler="plateau")
    start = {key: value.clone() for key, value in module.state_dict().items()}
    runs: list[tuple[Seen, dict[str, Any]]] = []
    for _ in range(2):
        module.load_state_dict(start)
        watch, trainer = Watch(), _trainer(tmp_path, epochs=2)
        trainer.callbacks.append(watch)  # type: ignore[attr-defined]
        trainer.fit(module, data)
        trainer.fit(module, data)  # finished: nothing to do
        runs.append((watch.trained, {key: value.clone() for key, value in module.state_dict().items()}))
    assert runs[0][0] == runs[1][0]
    assert _same(runs[0][1], runs[1][1])


SCRIPT = """
import json, sys
import lightning.pytorch as pl
from torch.utils.data import DataLoader
from vocseg.data.datamodule import VOCDataModule
from vocseg.models.module import SegmentationModule

class Watch(pl.Callback):
    def __init__(self):
        self.train, self.val = [], []
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.train += batch["index"].tolist()
    def on_validation_batch_end(self, trainer, module, outputs, batch, *_):
        self.val += batch["index"].tolist()

def main():
    pl.seed_everything(3, verbose=False)
    found = {}
    for kind in ("module", "ours", "stock"):
        data = VOCDataModule(root=sys.argv[1], image_size=32, batch_size=2)
        module = SegmentationModule(encoder=sys.argv[2])
        watch = Watch()
        trainer = pl.Trainer(max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", logger=False,
                             num_sanity_val_steps=0, enable_checkpointing=False, callbacks=[watch],
                             enable_progress_bar=False, enable_model_summary=False)
        if kind == "module":
            trainer.fit(module, data)
        elif kind == "ours":
            trainer.fit(module, data.train_dataloader(), data.val_dataloader())
        else:
            train = DataLoader(data.train_dataset, 2, shuffle=True)
            trainer.fit(module, train, DataLoader(data.val_dataset, 2))
        found[kind] = [watch.train, watch.val, int(module.results["val"]["images"])]
    with open(f"{sys.argv[3]}/{trainer.global_rank}.json", "w") as file:
        json.dump(found, file)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_two_processes_share_images_and_score_each_once(sample: Path, tmp_path: Path) -> None:
    rank = "from lightning.pytorch.utilities import rank_zero_only; import os\n"
    rank += "rank_zero_only.rank = int(os.environ['RANK'])\n"  # which the fork server set on import
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    words = [str(sample), TINY, str(tmp_path)]
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(Forked(words, tmp_path, rank + SCRIPT, **shared, RANK=k, LOCAL_RANK=k))
            for k in "01"
        ]
        for process in started:
            assert process.wait(300) == 0, process.err
    both = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for kind in ("module", "ours"):
        trained, scored = ([*both[0][kind][k], *both[1][kind][k]] for k in range(2))
        assert sorted(trained) == list(range(20))
        assert sorted(index for index in scored if index >= 0) == list(range(7))
        assert both[0][kind][2] == both[1][kind][2] == 7
    stock = [index for each in both for index in each["stock"][0]]
    assert sorted(stock) == list(range(20))  # Lightning's DistributedSampler gives plain numbers


def _pass(loader: Any) -> list[tuple[list[int], bytes]]:
    return [(batch["index"].tolist(), batch["image"].contiguous().numpy().tobytes()) for batch in loader]


def test_bare_loop_differs_in_order_and_augmentation_by_epoch(sample: Path) -> None:
    data = _data(sample)  # neither prepare_data nor setup was called
    loader = data.train_dataloader()
    kept = [_pass(loader) for _ in range(3)]
    again = _data(sample)
    made_anew = [_pass(again.train_dataloader()) for _ in range(3)]
    assert kept == made_anew  # whether the loader is kept or made in each epoch
    assert len({json.dumps([index for index, _ in epoch]) for epoch in kept}) == 3
    assert len({pixels for epoch in kept for _, pixels in epoch}) == 3 * BATCHES
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]  # torch's way to name one
    assert _pass(loader) == kept[1]


def test_loader_before_setup_works_or_raises(sample: Path, tmp_path: Path) -> None:
    assert [len(batch["index"]) for batch in _data(sample).val_dataloader()] == [4, 3]
    assert _data(sample).facts("val")["images"] == 7
    with pytest.raises(UserError, match="there is no VOC 2012 below"):
        _data(tmp_path, download=False).train_dataloader()
    with pytest.raises(UserError, match=r"predict needs --data\.predict_dir"):
        _data(sample).predict_dataloader()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_stock_loader_accepts_dataset(sample: Path, start: str) -> None:
    dataset, workers = _data(sample).train_dataset, {"fork": 2, "spawn": 1}[start]  # spawn imports torch
    loader = DataLoader(
        dataset, batch_size=4, shuffle=True, num_workers=workers, multiprocessing_context=start, timeout=120
    )
    batches = list(loader)
    assert sorted(int(index) for batch in batches for index in batch["index"]) == list(range(20))
    batch = batches[0]
    assert (batch["image"].shape, batch["image"].dtype) == ((4, 3, 32, 32), torch.uint8)
    assert (batch["mask"].shape, batch["mask"].dtype) == ((4, 32, 32), torch.uint8)
    assert batch["index"].dtype == torch.int64
    for k, index in enumerate(batch["index"].tolist()):
        assert torch.equal(batch["image"][k], dataset[index]["image"])
        assert torch.equal(batch["mask"][k], dataset[index]["mask"])


def test_dataset_index_works_as_in_list(sample: Path) -> None:
    dataset = _data(sample).train_dataset
    assert len(dataset) == 20 == len(list(dataset))  # iteration ends at the IndexError
    assert [dataset[k]["index"] for k in (0, 19, -1, -20)] == [0, 19, 19, 0]
    assert torch.equal(dataset[-1]["image"], dataset[19]["image"])
    assert dataset[torch.tensor(3)]["index"] == 3
    for wrong in (20, -21):
        with pytest.raises(IndexError, match=f"index {wrong} is out of range: the data set has 20 images"):
            dataset[wrong]
    for kind in ("a", 1.0, None):
        with pytest.raises(TypeError):
            dataset[kind]  # type: ignore[index]


def test_import_is_light_and_has_every_name() -> None:
    code = """
import sys, vocseg
heavy = {"torch", "numpy", "lightning", "torchmetrics", "PIL", "cv2", "yaml", "jsonargparse", "rich"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert set(vocseg.__all__) <= set(dir(vocseg))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert vocseg.data.datamodule.VOCDataModule is VOCDataModule
    assert vocseg.checkpoints.weights.load_network is load_network
