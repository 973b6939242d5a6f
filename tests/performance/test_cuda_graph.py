"""A step that is replayed does what a step that is computed does."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from tests.conftest import TINY, refused, tiny
from tests.imitation import Imitation
from vocseg.__main__ import main
from vocseg.inference.tta import TTAConfig
from vocseg.models import step_runner
from vocseg.models.module import SegmentationModule
from vocseg.performance import cuda_graph, graph_update
from vocseg.performance.cuda_graph import CudaGraphCache, CudaGraphSlot, StepGraph, can_capture
from vocseg.performance.options import PerformanceOptions
from vocseg.performance.step_tensors import StepTensors

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU to record on")


@pytest.fixture
def imitated(monkeypatch: pytest.MonkeyPatch) -> type[Imitation]:
    Imitation.made, Imitation.replays = [], 0
    monkeypatch.setattr(cuda_graph, "StepGraph", Imitation)  # which `captured` makes
    monkeypatch.setattr(step_runner, "can_capture", lambda trainer: True)
    return Imitation


def _compute(image: Tensor, mask: Tensor) -> StepTensors:
    return StepTensors(*(image.float().sum() + k for k in range(6)))


def test_the_fourth_of_a_kind_in_a_row_is_recorded(imitated: type[Imitation]) -> None:
    steps = CudaGraphSlot()
    full, rest = torch.ones(4, 3, 8, 8), torch.ones(1, 3, 8, 8)
    replayed = []
    for image, kind in [(full, 0)] * 4 + [(rest, 0)] * 3 + [(full, 0)] * 2 + [(full, 1)] * 5 + [(full, 0)]:
        found, graph = steps(_compute, image, image[:, 0], image[:, 0, 0, 0], kind, ())
        assert float(found.loss) == image.sum()
        replayed.append(graph is not None)
    assert replayed == [False] * 3 + [True] + [False] * 3 + [True] * 2 + [False] * 3 + [True] * 2 + [False]
    assert len(imitated.made) == 2  # one that is dropped is not kept beside the next


def test_epochs_that_end_with_a_smaller_batch_record_whole_ones_alone(imitated: type[Imitation]) -> None:
    steps = CudaGraphSlot()
    for _ in range(6):
        for size in (4, 4, 4, 4, 2):
            steps(_compute, torch.ones(size, 3, 8, 8), torch.ones(size, 8, 8), torch.ones(size), None, ())
    assert [each.shape[0] for each in imitated.made] == [4]


def test_what_may_learn_is_part_of_the_kind(imitated: type[Imitation]) -> None:
    network, recorder = torch.nn.Linear(4, 2), CudaGraphCache()

    def compute(image: Tensor, mask: Tensor) -> StepTensors:
        return StepTensors(network(image).sum(), *[torch.zeros(())] * 5)

    for frozen in (False, True):
        network.weight.requires_grad_(not frozen)
        for _ in range(5):
            network.zero_grad()
            found = recorder.train(compute, torch.ones(1, 4), torch.ones(1), torch.ones(1), network)
            if not recorder.assign_gradients():
                found.loss.backward()
            assert (network.weight.grad is None) == frozen
            assert network.bias.grad is not None
    assert [len(each.learning) for each in imitated.made] == [2, 1]


def _weights(run: Path) -> dict[str, Tensor]:
    return torch.load(run / "unet_voc.pth", weights_only=True)["state_dict"]


@pytest.mark.parametrize(
    "more",
    [
        ["--weight_averaging.kind", "ema", "--weight_averaging.decay", "0.5"],
        ["--trainer.gradient_clip_val", "0.1", "--model.optimizer", "adamw", "--model.lr_scheduler", "poly"],
        ["--trainer.gradient_clip_val", "0.01", "--trainer.gradient_clip_algorithm", "value"],
        ["--model.loss.class_weights", "balanced", "--model.optimizer", "sgd"],
    ],
    ids=["ema", "clipped by norm", "clipped by value", "weighted sgd"],
)
def test_a_run_of_replayed_steps_is_the_same_to_the_bit(
    sample: Path, here: Path, imitated: type[Imitation], more: list[str]
) -> None:
    words = [
        *tiny(sample),
        "--trainer.max_epochs",
        "3",
        "--model.freeze_encoder_epochs",
        "1",
        "--data.batch_size",
        "2",
    ]
    words += more
    runs = []
    for wanted in ("false", "true"):
        folder = f"capture_{wanted}"
        cli = main(
            ["fit", *words, "--model.performance.cuda_graphs", wanted, "--trainer.default_root_dir", folder]
        )
        runs.append(cli.folder)
    assert len(imitated.made) == 3  # training with a frozen encoder, scoring, training all
    assert imitated.replays > 20
    assert [each.update is not None for each in imitated.made] == [True, False, True]
    plain, replayed = map(_weights, runs)
    assert all(torch.equal(value, replayed[key]) for key, value in plain.items())
    figures = [(run / "metrics.csv").read_text().splitlines() for run in runs]
    kept = [
        [name for name in lines[0].split(",") if "speed" not in name and "optimizer" not in name]
        for lines in figures
    ]
    assert kept[0] == kept[1]
    assert _columns(figures[0], kept[0]) == _columns(figures[1], kept[1])


def _columns(lines: list[str], names: list[str]) -> list[list[str]]:
    places = [lines[0].split(",").index(name) for name in names]
    return [[line.split(",")[k] for k in places] for line in lines[1:]]


def test_steps_that_cannot_be_recorded_any_more_get_gradients_of_their_own(
    imitated: type[Imitation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a callback lets gradients be added up over two batches from some epoch on."""
    torch.manual_seed(0)
    module = SegmentationModule(encoder=TINY).train()
    chance = torch.Generator().manual_seed(1)
    for step in range(6):
        monkeypatch.setattr(step_runner, "can_capture", lambda trainer, step=step: step < 5)
        image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=chance)
        mask = torch.randint(0, 21, (2, 64, 64), dtype=torch.uint8, generator=chance)
        batch: Any = {"image": image, "mask": mask, "index": torch.arange(2)}
        module.zero_grad()
        loss = module._step(batch, module.train_metrics)["loss"]
        assert loss.requires_grad is (step not in (3, 4))
        module.backward(loss)
    found = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    module.zero_grad()
    module._work.compute(image, mask).loss.backward()
    wanted = [p.grad for p in module.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert torch.equal(module.gradient_norm(), torch.nn.utils.get_total_norm(wanted))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, True),
        ({"device": "cpu"}, False),
        ({"world_size": 2}, False),
        ({"accumulate_grad_batches": 2}, False),
        ({"scaler": object()}, False),
    ],
)
def test_only_plain_steps_on_one_gpu_are_recorded(change: dict[str, Any], wanted: bool) -> None:
    device = torch.device(change.get("device", "cuda"))
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=device),
        precision_plugin=SimpleNamespace(scaler=change.get("scaler")),
        world_size=change.get("world_size", 1),
        accumulate_grad_batches=change.get("accumulate_grad_batches", 1),
    )
    assert can_capture(trainer) is wanted
    assert can_capture(None) is False


def test_compile_with_recordings_of_its_own_is_not_recorded_again() -> None:
    assert PerformanceOptions().use_cuda_graphs
    assert PerformanceOptions(compile="default").use_cuda_graphs
    assert not PerformanceOptions(compile="reduce-overhead").use_cuda_graphs
    assert not PerformanceOptions(cuda_graphs=False).use_cuda_graphs


def test_a_step_that_cannot_be_recorded_is_a_sentence(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda_graph, "StepGraph", fails)
    monkeypatch.setattr(step_runner, "can_capture", lambda trainer: True)
    said = refused(capsys, ["fit", *tiny(sample), "--data.batch_size", "2"])
    assert "cannot be captured as a CUDA graph (CUDA error: operation not permitted" in said
    assert "--model.performance.cuda_graphs false" in said


class Changes(Callback):
    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """May change gradients."""


class Reads(Changes):
    only_reads_gradients = True


@pytest.mark.parametrize(
    ("callbacks", "make", "wanted"),
    [
        ([], {"fused": True}, True),
        ([Callback(), Reads()], {"fused": True}, True),
        ([Changes()], {"fused": True}, False),
        ([], {}, False),  # counts its steps on the CPU
    ],
)
def test_the_optimizers_step_is_captured_unless_callbacks_may_change_gradients(
    callbacks: list[Callback], make: dict[str, Any], wanted: bool
) -> None:
    module = SegmentationModule(encoder=TINY)
    trainer = SimpleNamespace(callbacks=callbacks, gradient_clip_val=1, gradient_clip_algorithm=None)
    optimizer = graph_update.Adam(module.parameters(), 1e-3, **make)
    assert (graph_update.step_update(module, optimizer, module.train_metrics, trainer) is not None) is wanted
    plain = torch.optim.Adam(module.parameters(), 1e-3)
    assert graph_update.step_update(module, plain, module.train_metrics, trainer) is None


def test_sums_keep_their_places_over_epochs_and_validations() -> None:
    metrics = SegmentationModule(encoder=TINY).train_metrics
    places = metrics.places
    batch = torch.ones(2, 21, 21, dtype=torch.int64), torch.tensor(1.0), torch.tensor(8), torch.tensor(2)
    for _ in range(2):
        metrics.update(*batch)
        metrics.add(*batch)
        metrics.note()
        assert int(metrics.compute()["images"]) == 4
        metrics.reset()
    assert metrics.places == places
    assert int(metrics.images) == 0


def _module(execution: PerformanceOptions) -> SegmentationModule:
    torch.manual_seed(0)
    return SegmentationModule(encoder=TINY, performance=execution).cuda().train()


def _batches(count: int) -> Iterator[dict[str, Tensor]]:
    chance = torch.Generator().manual_seed(1)
    for _ in range(count):
        image = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=chance)
        mask = torch.randint(0, 21, (4, 64, 64), dtype=torch.uint8, generator=chance)
        yield {
            "image": image.permute(0, 3, 1, 2).cuda(),
            "mask": mask.cuda(),
            "index": torch.arange(4).cuda(),
        }


def _trained(module: SegmentationModule, count: int, bf16: bool) -> list[float]:
    optimizer, losses = torch.optim.Adam(module.parameters(), 1e-4), []
    for batch in _batches(count):
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            output = module._step(batch, module.train_metrics)  # type: ignore[arg-type]
        optimizer.zero_grad()
        module.backward(output["loss"])
        optimizer.step()
        losses.append(output["loss"].item())
    return losses


@needs_gpu
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_on_a_gpu_replayed_steps_learn_as_computed_ones(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_runner, "can_capture", lambda trainer: True)
    sides = [_module(PerformanceOptions(cuda_graphs=wanted)) for wanted in (False, True)]
    plain, replayed = (_trained(side, 20, bf16) for side in sides)
    assert replayed == pytest.approx(plain, rel=2e-2 if bf16 else 1e-3)
    assert len({round(loss, 6) for loss in replayed}) == 20  # each of its own batch
    figures = [side.train_metrics.compute() for side in sides]
    assert int(figures[0]["matrix"].sum()) == int(figures[1]["matrix"].sum())
    for one, other in zip(sides[0].buffers(), sides[1].buffers(), strict=True):
        assert torch.allclose(one.float(), other.float(), rtol=5e-2, atol=5e-2)


@needs_gpu
@pytest.mark.parametrize(
    "more",
    [
        ["--weight_averaging.kind", "ema", "--weight_averaging.decay", "0.5", "--model.lr_scheduler", "poly"],
        ["--trainer.gradient_clip_val", "0.1", "--model.optimizer", "sgd", "--model.lr", "0.01"],
        ["--trainer.precision", "bf16-mixed", "--trainer.gradient_clip_val", "1"],
    ],
    ids=["ema", "sgd clipped", "bf16 clipped"],
)
def test_on_a_gpu_fit_with_captured_steps_learns_as_eager_steps(
    sample: Path, here: Path, more: list[str]
) -> None:
    words = tiny(sample)
    words[words.index("--trainer.accelerator") + 1] = "gpu"
    words[words.index("--trainer.max_epochs") + 1] = "4"
    rows = []
    for wanted in ("false", "true"):
        folder = f"capture_{wanted}"
        line = ["fit", *words, *more, "--model.performance.cuda_graphs", wanted]
        cli = main([*line, "--trainer.default_root_dir", folder])
        rows.append((cli.folder / "metrics.csv").read_text().splitlines())
        if wanted == "true":
            assert cli.model._update[1] is None  # dropped at the end
    names = [name for name in rows[0][0].split(",") if name.startswith(("loss/", "pixel_accuracy/"))]
    eager, replayed = (_columns(lines, names) for lines in rows)
    for one, other in zip(eager, replayed, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a == "") is (b == "")
            if a:
                assert float(b) == pytest.approx(float(a), rel=0.05)


@needs_gpu
def test_on_a_gpu_replayed_scores_are_those_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_runner, "can_capture", lambda trainer: True)
    sides = [_module(PerformanceOptions(cuda_graphs=wanted)).eval() for wanted in (False, True)]
    with torch.inference_mode():
        for batch in _batches(6):
            plain, replayed = (side._step(batch, side.val_metrics) for side in sides)  # type: ignore[arg-type]
            assert torch.allclose(plain["logits"], replayed["logits"], atol=1e-3)
            assert int((plain["prediction"] != replayed["prediction"]).sum()) < 5
    assert isinstance(sides[1]._work._recorder._scoring._graph, StepGraph)


@needs_gpu
def test_on_a_gpu_a_step_that_asks_for_a_value_is_a_sentence(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = step_runner.StepRunner.compute

    def asks(self: step_runner.StepRunner, image: Tensor, mask: Tensor, variants: TTAConfig) -> StepTensors:
        found = whole(self, image, mask, variants)
        float(found.total)
        return found

    monkeypatch.setattr(step_runner.StepRunner, "compute", asks)
    words = tiny(sample)
    words[words.index("--trainer.accelerator") + 1] = "gpu"
    said = refused(capsys, ["fit", *words, "--data.batch_size", "2"])
    assert "--model.performance.cuda_graphs false" in said
