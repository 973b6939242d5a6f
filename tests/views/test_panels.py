"""Panels show the images they chose, and ask a GPU for nothing in between."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vocseg.classes import VOC_CLASSES
from vocseg.views import Panels


class Index(torch.Tensor):
    """Positions that count how often somebody asks for their values."""

    asked = 0

    def __int__(self) -> int:
        Index.asked += 1
        return int(self.as_subclass(torch.Tensor))

    def tolist(self) -> Any:
        raise AssertionError("all positions were asked for")


def _validate(panels: Panels, images: int, batch: int, world: int, lost: tuple[int, ...] = ()) -> list[int]:
    """Positions in the split that are drawn by the main process of several."""
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
        pixels = torch.zeros(len(index), 3, 32, 32, dtype=torch.uint8)
        shown = {"image": pixels, "mask": pixels[:, 0], "index": index.as_subclass(Index)}
        panels.on_validation_batch_end(trainer, module, {"prediction": pixels[:, 0]}, shown, number)
    return sorted(panels._drawn)


@pytest.mark.parametrize("batch", [1, 4, 7, 32])
@pytest.mark.parametrize(("world", "wanted"), [(1, [0, 3, 6, 10, 13, 16]), (2, [0, 2, 6, 10, 12, 16])])
def test_the_same_images_are_drawn_whatever_the_batch(batch: int, world: int, wanted: list[int]) -> None:
    Index.asked = 0
    assert _validate(Panels(6), 20, batch, world) == wanted
    assert Index.asked == 6


def test_an_image_that_was_left_out_is_not_drawn() -> None:
    assert _validate(Panels(6), 20, 4, 1, lost=(6,)) == [0, 3, 10, 13, 16]
