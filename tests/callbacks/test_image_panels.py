"""Panels show the images they chose, and ask a GPU for nothing before the end."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vocseg.callbacks.image_panels import ImagePanels
from vocseg.data.classes import VOC_CLASSES


def _validate(
    panels: ImagePanels, images: int, batch: int, world: int, lost: tuple[int, ...] = ()
) -> list[int]:
    """What the images look like that are drawn by the main process of several: their positions."""
    places = range(0, images, world)
    loader = SimpleNamespace(sampler=places, batch_size=batch)
    trainer: Any = SimpleNamespace(
        val_dataloaders=loader,
        num_val_batches=[-(-len(places) // batch)],
        world_size=world,
        is_global_zero=True,
        sanity_checking=False,
    )
    module: Any = SimpleNamespace(class_list=VOC_CLASSES)
    panels.on_validation_start(trainer, module)
    for number, first in enumerate(range(0, len(places), batch)):
        index = torch.tensor([-2 - k if k in lost else k for k in places[first : first + batch]])
        pixels = index.to(torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32).clone()
        nothing = torch.zeros_like(pixels[:, 0])
        shown = {"image": pixels, "mask": nothing, "index": index}
        panels.on_validation_batch_end(trainer, module, {"prediction": nothing}, shown, number)
        pixels.zero_()  # a replayed step writes over what it gave out
    return [int(drawn[0, 0, 0]) for drawn in panels._draw(trainer, VOC_CLASSES)]


@pytest.mark.parametrize("batch", [1, 4, 7, 32])
@pytest.mark.parametrize(("world", "wanted"), [(1, [0, 3, 6, 10, 13, 16]), (2, [0, 2, 6, 10, 12, 16])])
def test_batch_size_does_not_change_drawn_images(batch: int, world: int, wanted: list[int]) -> None:
    assert _validate(ImagePanels(6), 20, batch, world) == wanted


def test_collecting_images_reads_no_value_from_the_device() -> None:
    """Meta tensors have none, so that whoever asks for one fails."""
    panels, module = ImagePanels(2), SimpleNamespace(class_list=VOC_CLASSES)
    loader = SimpleNamespace(sampler=range(8), batch_size=4)
    trainer: Any = SimpleNamespace(
        val_dataloaders=loader, num_val_batches=[2], is_global_zero=True, sanity_checking=False
    )
    panels.on_validation_start(trainer, module)  # type: ignore[arg-type]
    for number in range(2):
        pixels = torch.empty(4, 3, 32, 32, dtype=torch.uint8, device="meta")
        index = torch.empty(4, dtype=torch.int64, device="meta")
        shown = {"image": pixels, "mask": pixels[:, 0], "index": index}
        panels.on_validation_batch_end(trainer, module, {"prediction": pixels[:, 0]}, shown, number)  # type: ignore[arg-type]
    assert len(panels._samples) == 2


def test_skipped_image_is_not_drawn() -> None:
    assert _validate(ImagePanels(6), 20, 4, 1, lost=(6,)) == [0, 3, 10, 13, 16]
