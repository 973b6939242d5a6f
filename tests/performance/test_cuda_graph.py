"""Replayed steps equal eager steps."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY, refused, tiny
from tests.imitation import Imitation
from vocseg.__main__ import main
from vocseg.models import module as module_file
from vocseg.models.module import SegmentationModule
from vocseg.performance import cuda_graph
from vocseg.performance.cuda_graph import CudaGraphSlot, StepGraph, StepTensors, can_capture
from vocseg.performance.options import PerformanceOptions

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU to record on")


@pytest.fixture
def imitated(monkeypatch: pytest.MonkeyPatch) -> type[Imitation]:
    Imitation.made, Imitation.replays = [], 0
    monkeypatch.setattr(cuda_graph, "StepGraph", Imitation)
    monkeypatch.setattr(module_file, "can_capture", lambda trainer: True)
    return Imitation


def _compute(image: Tensor, mask: Tensor) -> StepTensors:
    return StepTensors(*(image.float().sum() + k for k in range(6)))


def test_fourth_consecutive_step_of_a_kind_is_captured(imitated: type[Imitation]) -> None:
    steps = CudaGraphSlot()
    full, rest = torch.ones(4, 3, 8, 8), torch.ones(1, 3, 8, 8)
    replayed = []
    for image, kind in [(full, 0)] * 4 + [(rest, 0)] * 3 + [(full, 0)] * 2 + [(full, 1)] * 5 + [(full, 0)]:
        found, graph = steps(_compute, image, image[:, 0], kind, ())
        assert float(found.loss) == image.sum()
        replayed.append(graph is not None)
    assert replayed == [False] * 3 + [True] + [False] * 3 + [True] * 2 + [False] * 3 + [True] * 2 + [False]
    assert len(imitated.made) == 2  # one that is dropped is not kept beside the next


def _weights(run: Path) -> dict[str, Tensor]:
    return torch.load(run / "unet_voc.pth", weights_only=True)["state_dict"]


@pytest.mark.parametrize(
    "more",
    [
        [
            *("--weight_averaging.kind", "ema", "--weight_averaging.decay", "0.5"),
            *("--trainer.gradient_clip_val", "0.1", "--model.optimizer", "adamw"),
            *("--model.lr_scheduler", "poly"),
        ],
        [
            *("--trainer.gradient_clip_val", "0.01", "--trainer.gradient_clip_algorithm", "value"),
            *("--model.loss.class_weights", "balanced", "--model.optimizer", "sgd"),
        ],
    ],
    ids=["adamw clipped by norm, ema", "weighted sgd clipped by value"],
)
def test_run_of_replayed_steps_is_bitwise_identical(
    sample: Path, here: Path, imitated: type[Imitation], more: list[str]
) -> None:
    words = [*tiny(sample), *more, "--data.batch_size", "2"]
    words += ["--trainer.max_epochs", "2", "--model.freeze_encoder_epochs", "1"]
    runs = []
    for wanted in ("false", "true"):
        folder = f"capture_{wanted}"
        cli = main(
            ["fit", *words, "--model.performance.cuda_graphs", wanted, "--trainer.default_root_dir", folder]
        )
        runs.append(cli.run_directory.path)
    assert len(imitated.made) == 3  # training with a frozen encoder, scoring, training all
    assert imitated.replays > 15
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


def test_eager_step_after_replays_computes_its_gradients(
    imitated: type[Imitation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a callback lets gradients be added up over two batches from some epoch on."""
    torch.manual_seed(0)
    module = SegmentationModule(encoder=TINY).train()
    chance = torch.Generator().manual_seed(1)
    for step in range(6):
        monkeypatch.setattr(module_file, "can_capture", lambda trainer, step=step: step < 5)
        image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=chance)
        mask = torch.randint(0, 21, (2, 64, 64), dtype=torch.uint8, generator=chance)
        batch: Any = {"image": image, "mask": mask, "index": torch.arange(2)}
        module.zero_grad()
        loss = module._step(batch, module.train_metrics)["loss"]
        assert loss.requires_grad is (step not in (3, 4))
        module.backward(loss)
    found = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    module.zero_grad()
    module._compute(image, mask).loss.backward()
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
def test_only_plain_steps_on_one_gpu_are_captured(change: dict[str, Any], wanted: bool) -> None:
    device = torch.device(change.get("device", "cuda"))
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=device),
        precision_plugin=SimpleNamespace(scaler=change.get("scaler")),
        world_size=change.get("world_size", 1),
        accumulate_grad_batches=change.get("accumulate_grad_batches", 1),
    )
    assert can_capture(trainer) is wanted
    assert can_capture(None) is False


def test_compile_mode_with_cuda_graphs_is_not_captured_again() -> None:
    assert PerformanceOptions().use_cuda_graphs
    assert PerformanceOptions(compile="default").use_cuda_graphs
    assert not PerformanceOptions(compile="reduce-overhead").use_cuda_graphs
    assert not PerformanceOptions(cuda_graphs=False).use_cuda_graphs


def test_step_that_cannot_be_captured_is_refused(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda_graph, "StepGraph", fails)
    monkeypatch.setattr(module_file, "can_capture", lambda trainer: True)
    said = refused(capsys, ["fit", *tiny(sample), "--data.batch_size", "2"])
    assert "cannot be captured as a CUDA graph (CUDA error: operation not permitted" in said
    assert "--model.performance.cuda_graphs false" in said


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
def test_gpu_replayed_steps_learn_as_eager_ones(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_file, "can_capture", lambda trainer: True)
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
def test_gpu_fit_with_captured_steps_learns_as_eager_fit(sample: Path, here: Path, more: list[str]) -> None:
    words = tiny(sample)
    words[words.index("--trainer.accelerator") + 1] = "gpu"
    words[words.index("--trainer.max_epochs") + 1] = "4"
    rows = []
    for wanted in ("false", "true"):
        folder = f"capture_{wanted}"
        line = ["fit", *words, *more, "--model.performance.cuda_graphs", wanted]
        cli = main([*line, "--trainer.default_root_dir", folder])
        rows.append((cli.run_directory.path / "metrics.csv").read_text().splitlines())
    names = [name for name in rows[0][0].split(",") if name.startswith(("loss/", "pixel_accuracy/"))]
    eager, replayed = (_columns(lines, names) for lines in rows)
    for one, other in zip(eager, replayed, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a == "") is (b == "")
            if a:
                assert float(b) == pytest.approx(float(a), rel=0.05)


@needs_gpu
def test_gpu_replayed_scores_equal_eager_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_file, "can_capture", lambda trainer: True)
    sides = [_module(PerformanceOptions(cuda_graphs=wanted)).eval() for wanted in (False, True)]
    with torch.inference_mode():
        for batch in _batches(6):
            plain, replayed = (side._step(batch, side.val_metrics) for side in sides)  # type: ignore[arg-type]
            assert torch.allclose(plain["logits"], replayed["logits"], atol=1e-3)
            assert int((plain["prediction"] != replayed["prediction"]).sum()) < 5
    assert isinstance(sides[1]._graphs._evaluation._graph, StepGraph)


@needs_gpu
def test_gpu_step_that_waits_is_refused(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = SegmentationModule._compute

    def waits(self: SegmentationModule, image: Tensor, mask: Tensor) -> StepTensors:
        found = compute(self, image, mask)
        float(found.total)
        return found

    monkeypatch.setattr(SegmentationModule, "_compute", waits)
    words = tiny(sample)
    words[words.index("--trainer.accelerator") + 1] = "gpu"
    said = refused(capsys, ["fit", *words, "--data.batch_size", "2"])
    assert "--model.performance.cuda_graphs false" in said
