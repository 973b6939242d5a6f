"""How a score was taken, by which weights, and what `scores.json` has beside: the page's small print."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vocseg import __version__
from vocseg.report.recorded import RecordedRun
from vocseg.views.report.parts import Bin, Figure

KINDS = {
    "original": "every image at its own size",
    "test": "at the network's size",
    "validate": "at the network's size",
    "after": "after fine-tuning, at the network's size",
}
_PROTOCOL = ("split", "images", "fingerprint", "size", "resolution")
_KNOWN = {"mean_iou", "pixel_accuracy", "loss", "classes", "class_iou", "protocol", "matrix"}
_OTHERS = (
    ("test", "mean IoU at the network's size", "the same predictions, on resized masks"),
    ("validate", "mean IoU at the network's size", "the same predictions, on resized masks"),
    ("ceiling", "ceiling of mean IoU", "the most that predicting at this size allows"),
    ("before", "mean IoU before fine-tuning", "on the same images"),
)


def facts_of(run: RecordedRun) -> tuple[tuple[str, str], ...]:
    """Pairs of name and value; what is not known is left out."""
    return tuple((name, str(value)) for name, value in _facts(run) if value not in (None, "", {}))


def _facts(run: RecordedRun) -> Iterator[tuple[str, Any]]:
    protocol, weights = run.score.get("protocol", {}), run.scores.get("weights", {})
    yield "folder", run.folder.resolve()
    if protocol:
        yield "images", f"{protocol['images']:,} of the list '{protocol['split']}'"
        yield "fingerprint of the data", protocol["fingerprint"]
        yield "resolution", KINDS["original" if protocol["resolution"] == "original" else "test"]
        yield "network sees", f"{protocol['size']}x{protocol['size']} pixels"
        yield from ((name, _plain(protocol[name])) for name in protocol if name not in _PROTOCOL)
    model = run.settings.get("model", {})
    network = [weights.get(name) or model.get(name) for name in ("arch", "encoder")]
    yield "network", " with ".join(str(name) for name in network if name)
    yield "weights", weights.get("path")
    yield "trained in", run.curves.folder.resolve() if run.curves is not None else None
    if model:
        yield "training", _training(run.settings)
    yield "scored by vocseg", weights.get("vocseg")
    yield "page made by vocseg", __version__


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


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def further_figures(run: RecordedRun) -> tuple[Figure, ...]:
    """Other entries of `scores.json` by their mean IoU, and other figures of the main one."""
    found = [
        Figure(name, run.scores[key].get("mean_iou"), note=note)
        for key, name, note in _OTHERS
        if key in run.scores and key != run.primary
    ]
    for name, value in run.score.items():
        if name not in _KNOWN:
            found += _figures(name, value)
    return tuple(found)


def _figures(name: str, value: Any) -> list[Figure]:
    """A figure that this page has no words for: a number, a number with an interval, or several."""
    title = {"ece": "calibration error (ECE)"}.get(name, name.replace("_", " "))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [Figure(title, float(value))]
    if not isinstance(value, Mapping):
        return []
    if isinstance(value.get("estimate"), int | float):
        return [Figure(title, value["estimate"], value.get("low"), value.get("high"))]
    wanted = {key: each for key, each in value.items() if key in ("ece", "mean_iou", "value")}
    return [
        each for key, inner in wanted.items() for each in _figures("ece" if key == "ece" else name, inner)
    ]


def bins_of(run: RecordedRun) -> tuple[Bin, ...]:
    """The calibration's bins, if the score has any: pixels by how sure the network was of them."""
    for place in (run.score, run.score.get("calibration"), run.score.get("ece")):
        rows = place.get("bins") if isinstance(place, Mapping) else None
        if rows:
            return _bins(rows)
    return ()


def _bins(rows: Any) -> tuple[Bin, ...]:
    """Bins given one by one, or as lists of equal length."""
    if isinstance(rows, Mapping):
        columns = [(key, each) for key, each in rows.items() if isinstance(each, list)]
        length = min((len(each) for _, each in columns), default=0)
        rows = [{key: each[k] for key, each in columns} for k in range(length)]
    try:
        total = sum(float(row.get("pixels", row.get("count", row.get("share", 0)))) for row in rows) or 1.0
        return tuple(
            Bin(
                float(row.get("low", k / len(rows))),
                float(row.get("high", (k + 1) / len(rows))),
                float(row["confidence"]),
                float(row["accuracy"]),
                float(row.get("pixels", row.get("count", row.get("share", 0)))) / total,
            )
            for k, row in enumerate(rows)
            if row.get("confidence") is not None and row.get("accuracy") is not None
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def name_of(folder: Path) -> str:
    """What a folder of runs is called in a heading: verb and version."""
    parts = folder.resolve().parts[-2:]
    return " / ".join(part for part in parts if part != "/")
