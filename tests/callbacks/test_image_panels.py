"""Panels show the images they chose, and ask a GPU for nothing before the end."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vocseg.callbacks.image_panels import ImagePanels
from vocseg.data.classes import VOC_CLASSES


def _collect(
    panels: ImagePanels, places: range, batch: int, lost: tuple[int, ...] = (), device: str = "cpu"
) -> Any:
    """Show the main process's images to the callback; the trainer."""
    trainer: Any = SimpleNamespace(
        val_dataloaders=SimpleNamespace(sampler=places, batch_size=batch),
        num_val_batches=[-(-len(places) // batch)],
        is_global_zero=True,
        sanity_checking=False,
    )
    module: Any = SimpleNamespace(class_list=VOC_CLASSES)
    panels.on_validation_start(trainer, module)
    for number, first in enumerate(range(0, len(places), batch)):
        index = torch.tensor(
            [-2 - k if k in lost else k for k in places[first : first + batch]], device=device
        )
        pixels = index.to(torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32).clone()
        nothing = torch.zeros_like(pixels[:, 0])
        shown = {"image": pixels, "mask": nothing, "index": index}
        panels.on_validation_batch_end(trainer, module, {"prediction": nothing}, shown, number)
        pixels.zero_()  # a replayed step writes over what it gave out
    return trainer


def _drawn(places: range, batch: int, lost: tuple[int, ...] = ()) -> list[int]:
    """Positions of the six images that are drawn."""
    panels = ImagePanels(6)
    trainer = _collect(panels, places, batch, lost)
    return [int(drawn[0, 0, 0]) for drawn in panels._draw(trainer, VOC_CLASSES)]


@pytest.mark.parametrize("batch", [1, 4, 7, 32])
@pytest.mark.parametrize(("world", "wanted"), [(1, [0, 3, 6, 10, 13, 16]), (2, [0, 2, 6, 10, 12, 16])])
def test_batch_size_does_not_change_drawn_images(batch: int, world: int, wanted: list[int]) -> None:
    assert _drawn(range(0, 20, world), batch) == wanted


def test_collecting_images_reads_no_value_from_the_device() -> None:
    """Meta tensors have none, so that whoever asks for one fails."""
    panels = ImagePanels(2)
    _collect(panels, range(8), 4, device="meta")
    assert len(panels._samples) == 2


def test_skipped_image_is_not_drawn() -> None:
    assert _drawn(range(20), 4, lost=(6,)) == [0, 3, 10, 13, 16]
