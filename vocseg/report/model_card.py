"""Model card: README.md of pushed weights, with its images."""

import inspect
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from PIL import Image

from vocseg.config.parser import RECIPES
from vocseg.errors import UserError, shown
from vocseg.metrics.bootstrap import Interval, ScoreIntervals
from vocseg.metrics.per_image import Protocol
from vocseg.report.charts import reliability
from vocseg.report.curves import as_png, drawn_curves
from vocseg.report.images import RunImages, ranked_images, worst_median_best
from vocseg.report.load_run import LoadedRun
from vocseg.report.sections import (
    ClassBar,
    Figure,
    bars_of,
    calibration_figure,
    figures_of,
    further_figures,
    intervals_of,
    kind_of,
    protocol_facts,
)
from vocseg.utils.yaml_loader import read_yaml
from vocseg.visualization.draw import panel, sheet
from vocseg.visualization.tables import percent

CARD, CURVES_IMAGE, PANELS_IMAGE = "README.md", "curves.png", "panels.png"
CARD_IMAGES = frozenset({CURVES_IMAGE, PANELS_IMAGE})
# Settings of the machine, and paths, which a card must not publish.
_LEFT_OUT = {
    "model.performance",
    *("data.root", "data.classes", "data.predict_dir", "data.num_workers", "data.timeout", "data.seed"),
    *("data.cache", "data.cache_dir", "data.download", "data.verify_files"),
}
_TRAINER = (
    *("max_epochs", "max_steps", "max_time", "precision", "accumulate_grad_batches", "gradient_clip_val"),
    *("gradient_clip_algorithm", "limit_train_batches", "limit_val_batches", "sync_batchnorm", "callbacks"),
)
_KINDS = {"worst": "lowest mean IoU", "median": "typical", "best": "highest mean IoU"}


class Publication(NamedTuple):
    """What the user says of weights; `dataset` and `license`: as on the hub, `panels`: with photographs."""

    name: str  # folder or repository, as `load` takes it
    dataset: str | None = None
    license: str | None = None
    panels: bool = False


def model_card(
    description: dict[str, Any], weights: Path, run: LoadedRun | None, publication: Publication
) -> dict[str, bytes]:
    """Content of `README.md` and of its images by name.

    Raises:
        UserError: If panels are wanted, and cannot be drawn.
    """
    drawn_images: dict[str, bytes] = {}
    if run is not None and run.curves is not None and "miou/val" in run.curves.series:
        drawn_images[CURVES_IMAGE] = as_png(drawn_curves([run]))
    if publication.panels:
        drawn_images[PANELS_IMAGE] = _panels(run, weights)
    card = _card(description, weights, run, publication, drawn_images)
    return {CARD: _rendered(card, publication).encode(), **drawn_images}


def _card(
    about: dict[str, Any], weights: Path, run: LoadedRun | None, publication: Publication, drawn_images: Any
) -> dict[str, Any]:
    """Values of the template. Empty parts are left out."""
    known = intervals_of(run) if run is not None and run.score else None
    if run is not None and known is not None:
        protocol = run.protocol
        figures = (*figures_of(known), *further_figures(run), *calibration_figure(run))
        bars, kind = bars_of(run, known), kind_of(run)
    else:
        protocol, figures, bars = _score_of_training(about)
        kind = "at the input resolution, while training"
    settings = dict(run.settings) if run is not None else {}
    diagram = reliability(run.calibration) if run is not None and run.calibration else None
    best = run.curves.best_epoch() if run is not None and run.curves is not None else None
    count = len(about["classes"])
    return dict(
        name=publication.name,
        title=f"{about['arch']} with {about['encoder']}, {count} classes",
        summary=_summary(count, figures, protocol, kind),
        size=about["size"] or 256,
        mean=about["normalisation"]["mean"],
        std=about["normalisation"]["std"],
        classes=[shown(name) for name in about["classes"]],
        protocol=protocol,
        figures=figures,
        intervals=known is not None,
        warning=(known and known.warning) or "",
        calibration=f"{diagram.sentence}, at {diagram.where}" if diagram else "",
        facts=tuple(_facts(about, protocol)),
        bars=bars,
        started_from=Path(str(settings.get("ckpt_path") or "")).name.replace("`", ""),
        curves=f"Loss and mean IoU by epoch, the best epoch is {best:g}" if best and drawn_images else "",
        recipe=_yaml(changed_settings(settings)) if settings else "",
        panels=PANELS_IMAGE in drawn_images,
        weights=shown(weights.name).replace("`", ""),
        limits=tuple(_limits(about, run, known, protocol, publication)),
    )


def _score_of_training(
    about: dict[str, Any],
) -> tuple[Protocol | None, tuple[Figure, ...], tuple[ClassBar, ...]]:
    """Protocol, totals and classes of the validation that the file of the weights records."""
    try:
        score = about["score"]
        names, ious = (list(score[key]) for key in ("classes", "class_iou"))
        protocol = Protocol(**score["protocol"])
        note = "of the validation while training"
        figures = (
            Figure("mean IoU", Interval(float(score["mean_iou"])), note),
            Figure("pixel accuracy", Interval(float(score["pixel_accuracy"])), note),
        )
        values = [Interval(None if iou is None else float(iou)) for iou in ious]
        pairs = zip(names, values, strict=True)
        return protocol, figures, tuple(ClassBar(shown(str(name)), "", iou) for name, iou in pairs)
    except (KeyError, TypeError, ValueError):
        return None, (), ()


def _summary(count: int, figures: Sequence[Figure], protocol: Protocol | None, kind: str) -> str:
    task = f"Semantic segmentation of images into {count} classes."
    if not figures or protocol is None:
        return f"{task} Score: not measured."
    score = figures[0].interval
    ends = f" (95 % interval {percent(score.low)} to {percent(score.high)})" if score.low is not None else ""
    images = f"{protocol.images:,} images of the split '{protocol.split}'"
    return f"{task} Mean IoU {percent(score.estimate)} %{ends} on {images}, {kind}."


def _facts(about: dict[str, Any], protocol: Protocol | None) -> Iterator[tuple[str, str]]:
    """Pairs of name and value, without paths."""
    yield "network", f"{about['arch']} with {about['encoder']}"
    if protocol is not None:
        yield from protocol_facts(protocol)
    train = about["data"].get("train") or {}
    if train.get("images"):
        yield "trained on", f"{train['images']} images of the split '{train.get('split')}'"
        yield "fingerprint of the training data", str(train.get("fingerprint"))
    yield "vocseg", str(about["vocseg"])


def _limits(
    about: dict[str, Any],
    run: LoadedRun | None,
    known: ScoreIntervals | None,
    protocol: Protocol | None,
    publication: Publication,
) -> Iterator[str]:
    count, size = len(about["classes"]), about["size"]
    yield f"Every pixel gets one of the {count} classes. Objects of other classes become one of them."
    yield "The score is for images like the scored ones. It may be lower on others."
    if size:
        yield f"Images are resized to {size}x{size}, which loses small objects."
    if bound := run and run.scores.get("ceiling"):
        yield f"A perfect prediction at {size}x{size} has a mean IoU of {percent(bound['mean_iou'])} %."
    if protocol is not None and protocol.fingerprint == (about["data"].get("val") or {}).get("fingerprint"):
        yield "The epoch was chosen by its mean IoU on the scored images. This may raise the score slightly."
    if known is not None:
        ious = {name: iou.estimate for name, iou in known.class_iou.items() if iou.estimate is not None}
        lowest = sorted(ious, key=lambda name: ious[name] or 0.0)[:3]
        worst = ", ".join(f"{name} ({percent(ious[name])} %)" for name in lowest)
        yield f"Classes with the lowest IoU: {worst}."
    if not publication.license:
        yield "No licence is stated. Ask the owner before use."


def _panels(run: LoadedRun | None, weights: Path) -> bytes:
    """The worst, a median and the best image with ground truth, prediction and errors, as PNG."""
    if run is None or run.images is None or run.label_errors is None:
        raise UserError(
            f"--panels true needs a run of `test` that saved its predictions. Make one with "
            f"`python -m vocseg test --ckpt_path {weights}`, or leave the flag out."
        )
    images, drawn = RunImages(run.label_errors, run.folder, None), []
    for kind, found in worst_median_best(ranked_images(run.images), 1).items():
        for each in found:
            if (triplet := images.triplet(each.id)) is not None:
                title = f"{_KINDS[kind]}: {each.id}   mean IoU {percent(each.mean_iou)} %"
                drawn.append(panel(*triplet, images.classes, title=title))
    if images.missing or not drawn:
        reason = next(iter(images.missing.values()), "the run has no images")
        raise UserError(
            f"--panels true: {reason}. Score the weights again with `test`, or leave the flag out."
        )
    stream = io.BytesIO()
    Image.fromarray(sheet(drawn)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _yaml(values: Any) -> str:
    import yaml

    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True)).strip()


def _rendered(card: dict[str, Any], publication: Publication) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vocseg.report", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"md": escape_markdown, "percent": percent, "ends": _ends}
    template = environment.get_template("model_card.md.j2")
    text = template.render(card=card, metadata=_metadata(card, publication))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def escape_markdown(text: str) -> str:
    """Text in which Markdown and HTML have no effect, on one line."""
    plain = re.sub(r"[<>&#~$]", lambda found: f"&#{ord(found[0])};", " ".join(shown(text, 2000).split()))
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", plain)


def _ends(interval: Interval) -> str:
    return "" if interval.low is None else f"{percent(interval.low)} to {percent(interval.high)}"


def _metadata(card: dict[str, Any], publication: Publication) -> str:
    """Front matter that the hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    results, protocol = [], card["protocol"]
    if protocol is not None:
        data = publication.dataset or f"data {card['protocol'].fingerprint[:8]}"
        for name, kind, figure in (("mean IoU", "mean_iou", 0), ("pixel accuracy", "accuracy", 1)):
            value = card["figures"][figure].interval.estimate
            results.append(
                EvalResult(
                    task_type="image-segmentation",
                    dataset_type=publication.dataset or "unknown",
                    dataset_name=data,
                    dataset_split=protocol.split,
                    metric_type=kind,
                    metric_name=f"{name}, {card['protocol'].pixels}",
                    metric_value=None if value is None else round(value, 4),
                )
            )
    return ModelCardData(
        library_name="segmentation-models-pytorch",
        pipeline_tag="image-segmentation",
        tags=["semantic-segmentation", "vocseg", "pytorch"],
        datasets=[publication.dataset] if publication.dataset else None,
        license=publication.license,
        metrics=["mean_iou"] if results else None,
        model_name=card["title"] if results else None,
        eval_results=results or None,
    ).to_yaml()


def changed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a `config.yaml` that `--config` needs beside the defaults of `fit`, without paths."""
    defaults = dict(_defaults())
    found: dict[str, Any] = {"seed_everything": settings.get("seed_everything")}
    groups = {name: settings.get(name) for name in ("model", "data", "trainer", "weight_averaging")}
    for key, value in _flat({name: each for name, each in groups.items() if isinstance(each, Mapping)}):
        if key in defaults and value != defaults[key] and not _left_out(key):
            *outer, last = key.split(".")
            inner = found
            for group in outer:
                inner = inner.setdefault(group, {})
            inner[last] = _without_folders(value)
    return {key: value for key, value in found.items() if value is not None}


def _left_out(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in _LEFT_OUT)


def _without_folders(value: Any) -> Any:
    """A value in which absolute paths are names of files."""
    if isinstance(value, Mapping):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    absolute = isinstance(value, str) and (value.startswith("~") or PurePath(value).is_absolute())
    return PurePath(value).name if absolute else value


def _defaults() -> Iterator[tuple[str, Any]]:
    """Values by dotted key: those of the classes, then those of the recipe `fit`."""
    from lightning.pytorch import Trainer

    from vocseg.callbacks.weight_averaging import WeightAverager
    from vocseg.data.datamodule import VOCDataModule
    from vocseg.models.module import SegmentationModule

    kinds = {"model": SegmentationModule, "data": VOCDataModule, "weight_averaging": WeightAverager}
    for group, kind in kinds.items():
        for name, each in inspect.signature(kind).parameters.items():
            yield from _flat({group: {name: each.default}})
    trainer = inspect.signature(Trainer).parameters
    yield from ((f"trainer.{name}", trainer[name].default) for name in _TRAINER)
    yield from _flat(read_yaml(RECIPES / "fit.yaml", "recipe fit"))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted key. Tuples are lists, and paths texts, as in YAML."""
    for name, value in values.items():
        plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        if isinstance(plain, Mapping):
            yield from _flat(plain, f"{prefix}{name}.")
        else:
            text = str(plain) if isinstance(plain, Path) else plain
            yield f"{prefix}{name}", list(text) if isinstance(text, tuple) else text
