"""Optimisers and frozen encoders: which parameter is treated how."""

import pytest
import torch
from torch import nn

from tests.conftest import TINY
from vocseg.models.module import SegmentationModule
from vocseg.optim.optimizers import EncoderFreezer, OptimizerConfig, build_optimizer, parameter_groups


@pytest.fixture(scope="module")
def network() -> SegmentationModule:
    return SegmentationModule(encoder=TINY)


def test_default_adam_has_one_parameter_group(network: SegmentationModule) -> None:
    optimizer = build_optimizer(OptimizerConfig(), network, network.network.encoder, {})
    plain = torch.optim.Adam(network.parameters(), lr=1e-4)
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.state_dict()["param_groups"] == plain.state_dict()["param_groups"]


@pytest.mark.parametrize("factor", [1.0, 0.1, 0.0])
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_groups_separate_encoder_and_parameters_without_decay(
    network: SegmentationModule, name: str, factor: float
) -> None:
    settings = OptimizerConfig(name, 1e-2, 0.05, 0.8, factor)  # type: ignore[arg-type]
    optimizer = build_optimizer(settings, network, network.network.encoder, {})
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    found = {names[id(each)]: group for group in optimizer.param_groups for each in group["params"]}
    shapes = {key: parameter.shape for key, parameter in network.named_parameters()}
    assert set(found) == set(shapes)
    for key, group in found.items():
        assert group["weight_decay"] == (0.05 if len(shapes[key]) > 1 else 0.0), key
        within = key.startswith("network.model.encoder.")
        assert group["lr"] == pytest.approx(1e-2 * (factor if within else 1)), key


def test_parameter_groups_have_names(network: SegmentationModule) -> None:
    settings = OptimizerConfig(weight_decay=0.1, encoder_lr_mult=0.1)
    groups = parameter_groups(settings, network, network.network.encoder)
    assert {group["name"] for group in groups} == {
        "encoder", "encoder, no decay", "decoder", "decoder, no decay"
    }  # fmt: skip


def test_momentum_is_for_sgd_only(network: SegmentationModule) -> None:
    made = [
        build_optimizer(OptimizerConfig(name, momentum=0.7), network, network.network.encoder, {})
        for name in ("sgd", "adamw")
    ]
    assert made[0].defaults["momentum"] == 0.7
    assert "momentum" not in made[1].defaults


def _step(encoder: nn.Module, decoder: nn.Module, freezing: EncoderFreezer, epoch: int, alone: bool) -> None:
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1)
    freezing.before_step(encoder, epoch, alone)
    loss: torch.Tensor = decoder(encoder(torch.randn(4, 3, 8, 8))).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    freezing.clear_gradients(encoder, epoch)
    optimizer.step()


@pytest.mark.parametrize("alone", [True, False])
def test_frozen_encoder_keeps_weights_and_statistics(alone: bool) -> None:
    torch.manual_seed(0)
    encoder, decoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.Conv2d(4, 2, 1)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    head, freezing = decoder.weight.clone(), EncoderFreezer(2)
    for epoch in (0, 1):
        _step(encoder, decoder, freezing, epoch, alone)
        encoder.train()  # as Lightning may after a validation
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert not torch.equal(decoder.weight, head)
    _step(encoder, decoder, freezing, 2, alone)
    assert not any(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_unfrozen_encoder_is_not_touched() -> None:
    encoder = nn.BatchNorm2d(3).eval()
    encoder.weight.requires_grad_(False)
    EncoderFreezer().before_step(encoder, 0, True)
    assert not encoder.training
    assert not encoder.weight.requires_grad
