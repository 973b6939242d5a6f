"""How a score was taken, by which weights, and what was scored beside it: the page's small print."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vocseg import __version__
from vocseg.report.kept import intervals_from
from vocseg.report.recorded import RecordedRun
from vocseg.scores.plain import INPUT_RESOLUTION
from vocseg.scores.protocol import Protocol
from vocseg.views.report.parts import Figure

_NETWORK = "mean IoU at the network's size"


def kind_of(run: RecordedRun) -> str:
    """What was scored, in words."""
    protocol = run.protocol
    if protocol is None:
        return "in training, at the network's size"
    way = f"{'in' if protocol.windows else 'at'} {protocol.views}"
    if protocol.resolution == "original":
        return f"every image at its own size, predicted {way}"
    return ("after fine-tuning, " if run.primary == "after" else "") + f"images and masks {way}"


def facts_of(run: RecordedRun) -> tuple[tuple[str, str], ...]:
    """Pairs of name and value; what is not known is left out."""
    return tuple((name, str(value)) for name, value in _facts(run) if value not in (None, "", {}))


def _facts(run: RecordedRun) -> Iterator[tuple[str, Any]]:
    weights, model = run.scores.get("weights") or {}, run.settings.get("model") or {}
    yield "folder", run.folder.resolve()
    if run.protocol is not None:
        yield from _protocol(run.protocol)
    network = [weights.get(name) or model.get(name) for name in ("arch", "encoder")]
    yield "network", " with ".join(str(name) for name in network if name)
    yield "started from" if run.primary == "after" else "weights", weights.get("path")
    yield "trained in", run.curves.folder.resolve() if run.curves is not None else None
    if model:
        yield "training", _training(run.settings)
    loss = next(
        (each["loss"] for name in (INPUT_RESOLUTION, "after") if (each := run.scores.get(name))), None
    )
    yield "loss at the network's size", None if loss is None else f"{loss:.3f}"
    yield "scored by vocseg", weights.get("vocseg")
    yield "page made by vocseg", __version__


def _protocol(protocol: Protocol) -> Iterator[tuple[str, str]]:
    """All of the protocol: scores are comparable if all of this agrees."""
    original = protocol.resolution == "original"
    yield "images", f"{protocol.images:,} of the list '{protocol.split}'"
    yield "fingerprint of the data", protocol.fingerprint
    yield "scored at", "every image's own size" if original else "the network's size"
    yield "network sees", f"{protocol.size}x{protocol.size} pixels"
    yield "windows", protocol.windows or "none: every image is resized whole"
    yield "test-time augmentation", protocol.tta or "none"


def _training(settings: Mapping[str, Any]) -> str:
    """The settings that matter most."""
    data, trainer, model = (settings.get(name) or {} for name in ("data", "trainer", "model"))
    parts = [
        f"list '{data.get('train_split')}'",
        f"{trainer.get('max_epochs')} epochs",
        f"batches of {data.get('batch_size')}",
        f"learning rate {model.get('lr')}",
        f"augmentation {data.get('augmentation')}",
        f"seed {settings.get('seed_everything')}",
    ]
    return ", ".join(part for part in parts if "None" not in part)


def further_figures(run: RecordedRun) -> tuple[Figure, ...]:
    """What else was scored: at the network's size, without fault, before fine-tuning, by calibration."""
    found = [
        _mean_iou(run, INPUT_RESOLUTION, _NETWORK, _network_note(run)),
        _mean_iou(run, "before", "mean IoU before fine-tuning", "on the same images"),
    ]
    if ceiling := run.scores.get("ceiling"):
        size = run.protocol.size if run.protocol else 0
        note = f"the most that predicting at {size}x{size} allows"
        found.append(Figure("ceiling of mean IoU", ceiling["mean_iou"], note=note))
    if known := run.calibration:
        note = "probability against how often it is right; 0 is best"
        found.append(Figure("expected calibration error", known.error, note=note))
    return tuple(each for each in found if each is not None)


def _mean_iou(run: RecordedRun, key: str, name: str, note: str) -> Figure | None:
    score = run.scores.get(key)
    if not score or key == run.primary:
        return None
    known = intervals_from(score["intervals"]).measures["mean_iou"]
    return Figure(name, known.estimate, known.low, known.high, note)


def _network_note(run: RecordedRun) -> str:
    windows = run.protocol is not None and run.protocol.windows
    return "resized whole, without windows" if windows else "the same predictions, on resized masks"


def name_of(folder: Path) -> str:
    """What a folder of runs is called in a heading: verb and version."""
    parts = folder.resolve().parts[-2:]
    return " / ".join(part for part in parts if part != "/")
