"""Model card: README.md of pushed weights, with its images."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from PIL import Image

from vocseg.errors import UserError, shown
from vocseg.metrics.bootstrap import Interval, ScoreIntervals
from vocseg.metrics.per_image import Protocol
from vocseg.report.curves import curves_svg
from vocseg.report.images import RunImages, ranked_images, worst_median_best
from vocseg.report.load_run import LoadedRun
from vocseg.report.sections import (
    ClassBar,
    Figure,
    bars_of,
    figures_of,
    intervals_of,
    kind_of,
    protocol_facts,
    render,
)
from vocseg.visualization.draw import panel, sheet
from vocseg.visualization.tables import confidence_text, percent

CARD, CURVES_IMAGE, PANELS_IMAGE = "README.md", "curves.svg", "panels.png"
CARD_IMAGES = frozenset({CURVES_IMAGE, PANELS_IMAGE})
# Settings of the machine, and paths, which a card must not publish.
_LEFT_OUT = {
    *("performance", "root", "classes", "predict_dir", "num_workers", "timeout", "seed"),
    *("cache", "cache_dir", "download", "verify_files"),
}
_TRAINER = {
    *("max_epochs", "max_steps", "max_time", "precision", "accumulate_grad_batches", "gradient_clip_val"),
    *("gradient_clip_algorithm", "limit_train_batches", "limit_val_batches", "sync_batchnorm", "callbacks"),
}
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
        drawn_images[CURVES_IMAGE] = curves_svg({"": run.curves}).encode()
    if publication.panels:
        drawn_images[PANELS_IMAGE] = _panels(run, weights)
    card = _card(description, weights, run, publication)
    text = render("model_card.md.j2", card=card, images=drawn_images, metadata=_metadata(card, publication))
    return {CARD: (re.sub(r"\n{3,}", "\n\n", text).strip() + "\n").encode(), **drawn_images}


def _card(
    about: dict[str, Any], weights: Path, run: LoadedRun | None, publication: Publication
) -> dict[str, Any]:
    """Values of the template. Empty parts are left out."""
    known = intervals_of(run) if run is not None else None
    calibration = run.calibration if run is not None and known is not None else None
    if run is not None and known is not None:
        protocol, figures = run.protocol, figures_of(run, known)
        bars, kind = bars_of(run, known), kind_of(run)
    else:
        protocol, figures, bars = _score_of_training(about)
        kind = "at the input resolution, while training"
    if calibration is not None:
        note = confidence_text(calibration.confidence or 0.0, calibration.accuracy or 0.0)
        note = f"{note}, at {calibration.protocol.pixels}"
        figures.append(Figure("expected calibration error", Interval(calibration.error), note))
    settings = dict(run.settings) if run is not None else {}
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
        warning=known and known.warning,
        facts=tuple(_facts(about, protocol)),
        bars=bars,
        started_from=Path(str(settings.get("ckpt_path") or "")).name.replace("`", ""),
        recipe=_yaml(published_settings(settings)) if settings else "",
        weights=shown(weights.name).replace("`", ""),
        limits=tuple(_limits(about, run, known, protocol, publication)),
    )


def _score_of_training(about: dict[str, Any]) -> tuple[Protocol | None, list[Figure], list[ClassBar]]:
    """Protocol, totals and classes of the validation that the file of the weights records."""
    score = about["score"]
    if score is None:
        return None, [], []
    note = "of the validation while training"
    figures = [
        Figure("mean IoU", Interval(score["mean_iou"]), note),
        Figure("pixel accuracy", Interval(score["pixel_accuracy"]), note),
    ]
    pairs = zip(score["classes"], score["class_iou"], strict=True)
    return (
        Protocol(**score["protocol"]),
        figures,
        [ClassBar(shown(name), "", Interval(iou)) for name, iou in pairs],
    )


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


def published_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a `config.yaml` that makes the recipe, without paths and settings of the machine."""
    found = {"seed_everything": settings.get("seed_everything")}
    for group in ("model", "data", "trainer", "weight_averaging"):
        values = settings.get(group) or {}
        names = _TRAINER.intersection(values) if group == "trainer" else values.keys() - _LEFT_OUT
        found[group] = {name: _without_folders(values[name]) for name in values if name in names}
    return {name: each for name, each in found.items() if each not in (None, {})}


def _without_folders(value: Any) -> Any:
    """A value in which absolute paths are names of files."""
    if isinstance(value, Mapping):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    absolute = isinstance(value, str) and (value.startswith("~") or PurePath(value).is_absolute())
    return PurePath(value).name if absolute else value
