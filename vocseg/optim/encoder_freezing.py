"""Freezing of the encoder in the first epochs."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class EncoderFreezer:
    """Keeps an encoder's weights, and the statistics of its BatchNorm, for a number of epochs.

    Attributes:
        epochs: From the first.
    """

    epochs: int = 0

    def frozen(self, epoch: int) -> bool:
        """Whether the encoder stays as it is in an epoch, from 0."""
        return epoch < self.epochs

    def before_step(self, encoder: nn.Module, epoch: int, alone: bool) -> None:
        """Freeze or thaw, before every step: validation and resumption may come between.

        Args:
            encoder: What is frozen.
            epoch: The present one, from 0.
            alone: Whether one process trains. Several average every gradient they expect, so that theirs are
                computed, and thrown away by `drop`.
        """
        if not self.epochs:
            return
        frozen = self.frozen(epoch)
        if encoder.training == frozen:
            encoder.train(not frozen)
        for parameter in encoder.parameters():
            parameter.requires_grad_(not (frozen and alone))

    def clear_gradients(self, encoder: nn.Module, epoch: int) -> None:
        """Let the optimiser see no gradient of a frozen encoder, so that it keeps its hands off."""
        if self.frozen(epoch):
            for parameter in encoder.parameters():
                parameter.grad = None
