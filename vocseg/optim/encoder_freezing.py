"""Freezing of the encoder in the first epochs."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class EncoderFreezer:
    """Freezes an encoder's weights and BatchNorm statistics for the first epochs.

    Attributes:
        epochs: Number of epochs.
    """

    epochs: int = 0

    def before_step(self, encoder: nn.Module, epoch: int, single_process: bool) -> None:
        """Freeze or unfreeze before a step, as validation and resume may have come between.

        Args:
            encoder: Encoder of the network.
            epoch: Current epoch, from 0.
            single_process: Whether one process trains. DDP expects a gradient of every parameter, so that
                several processes compute them and `clear_gradients` drops them.
        """
        if not self.epochs:
            return
        frozen = epoch < self.epochs
        if encoder.training == frozen:
            encoder.train(not frozen)
        for parameter in encoder.parameters():
            parameter.requires_grad_(not (frozen and single_process))

    def clear_gradients(self, encoder: nn.Module, epoch: int) -> None:
        """Remove the gradients of a frozen encoder before the optimizer's step."""
        if epoch < self.epochs:
            for parameter in encoder.parameters():
                parameter.grad = None
