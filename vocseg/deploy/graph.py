"""Network with the input and output of an exported file."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vocseg.inference.exported import Output
from vocseg.models.network import Network


class ExportGraph(nn.Module):
    """A network of fixed input size whose graph has the pre- and postprocessing of `predict`.

    For `mask` the input has any size: the image is resized with antialiasing, and the logits are upsampled to
    it.
    """

    def __init__(self, network: Network, size: int, output: Output) -> None:
        """Wrap a network.

        Args:
            network: Network in eval mode.
            size: Side length S of the network's input in pixels.
            output: First output.
        """
        super().__init__()
        self.network, self.size, self.output = network, size, output

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the outputs.

        Args:
            image: RGB uint8 `[N,3,S,S]`; for `mask` uint8 `[N,3,H,W]`.

        Returns:
            Logits or probabilities, float32 `[N,C,S,S]`; or classes, uint8 `[N,H,W]`, and logits.
        """
        if self.output != "mask":
            logits: Tensor = self.network(image)
            return logits.softmax(1) if self.output == "probabilities" else logits
        height, width = image.shape[-2:]
        logits = self.network(_resized(image, self.size))
        full = functional.interpolate(logits, (height, width), mode="bilinear")
        return full.argmax(1).to(torch.uint8), logits


def _resized(image: Tensor, size: int) -> Tensor:
    """Pixels 0 to 255, float32 `[N,3,S,S]`, within 1 of Pillow's antialiased bilinear filter.

    Two matrix products: other than an operator for it, every runtime computes them in the same way.
    """
    height, width = image.shape[-2:]
    rows = (image.float() @ _bilinear(width, size).T).round()  # Pillow rounds after each axis
    return (_bilinear(height, size) @ rows).round()


def _bilinear(source: int, target: int) -> Tensor:
    """Weights of the source pixels in each target pixel, float32 `[target,source]`."""
    scale = torch.scalar_tensor(source, dtype=torch.float32) / target
    centres = (torch.arange(target) + 0.5) * scale
    distance = (torch.arange(source) + 0.5)[None] - centres[:, None]
    weights = (1 - (distance / scale.clamp(min=1.0)).abs()).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)
