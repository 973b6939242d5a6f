"""Every way of computing the network gives the same figures."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import ROOT, TINY
from tests.forks import run
from vocseg.losses.composite import CompositeLoss
from vocseg.losses.config import CROSS_ENTROPY_ONLY as SETTINGS
from vocseg.models.network import Network, build_network
from vocseg.optim.optimizers import OptimizerConfig, build_optimizer
from vocseg.performance.options import PerformanceOptions, precision_note

# Two threads add up in another order, whose rounding grows to 5e-4 of the loss on a Zen 3.
pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = PerformanceOptions(False, fused_optimizer=False, cpu_fuse_upsample=False)  # as smp and torch come
CPU = torch.device("cpu")
WAYS = {
    "channels last": replace(PLAIN, channels_last=True),
    "fused": replace(PLAIN, fused_optimizer=True),
    "folded": replace(PLAIN, cpu_fuse_upsample=True),
    "all": PerformanceOptions(),
}
STEPS, PLAIN_LOSS = 20, CompositeLoss(SETTINGS, 21)


def _network(performance: PerformanceOptions) -> Network:
    torch.manual_seed(0)
    return build_network("unet", TINY, None, 21, performance)


def _adam(network: Network, lr: float) -> torch.optim.Optimizer:
    options = network.performance.optimizer_options(CPU)
    return build_optimizer(OptimizerConfig(lr=lr), network, network.encoder, options)


def _losses(performance: PerformanceOptions, bf16: bool = False, steps: int = STEPS) -> list[float]:
    network = _network(performance).train()
    optimizer = _adam(network, 1e-4)
    chance, losses = torch.Generator().manual_seed(1), []
    for _ in range(steps):
        image = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=chance).permute(0, 3, 1, 2)
        mask = torch.randint(0, 21, (2, 64, 64), dtype=torch.uint8, generator=chance)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss: Tensor = PLAIN_LOSS(network(image), mask).loss
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def plain_losses(one_thread: None) -> list[float]:
    return _losses(PLAIN)


@pytest.mark.parametrize("performance", WAYS.values(), ids=WAYS.keys())
def test_options_give_same_losses_over_20_steps(
    performance: PerformanceOptions, plain_losses: list[float]
) -> None:
    losses = _losses(performance)
    assert losses[:3] == pytest.approx(plain_losses[:3], rel=2e-5)
    assert losses == pytest.approx(plain_losses, abs=1e-3)


def test_bf16_gives_same_losses_within_rounding(plain_losses: list[float]) -> None:
    assert _losses(PerformanceOptions(), bf16=True, steps=4) == pytest.approx(plain_losses[:4], rel=2e-2)


def test_optimizer_is_fused_unless_switched_off_or_clipped_under_fp16() -> None:
    for device in (CPU, torch.device("cuda")):
        assert PerformanceOptions().optimizer_options(device) == {"fused": True}
        assert PerformanceOptions().optimizer_options(device, clips_scaled=True) == {}
        assert PerformanceOptions(fused_optimizer=False).optimizer_options(device) == {}
    assert PerformanceOptions().optimizer_options(torch.device("mps")) == {}


@pytest.mark.parametrize("performance", WAYS.values(), ids=WAYS.keys())
def test_parameters_keep_names_shapes_and_order(performance: PerformanceOptions) -> None:
    wanted = _network(PLAIN).state_dict()
    found = _network(replace(performance, compile="default")).state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(value, wanted[key]) for key, value in found.items())


COMPILED = """
from dataclasses import replace
import pytest, torch
from tests.performance import test_options as ways

# All of torch.compile but the writing of machine code, which takes minutes and is torch's own matter.
whole = torch.nn.Module.compile
torch.nn.Module.compile = lambda self, mode, dynamic: whole(self, backend="aot_eager", dynamic=dynamic)
performance = replace(ways.PerformanceOptions(), compile="default")
assert ways._losses(performance, steps=3) == pytest.approx(ways._losses(ways.PLAIN, steps=3), rel=1e-4)
graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
assert graphs == 1, f"{graphs} graphs"
network = ways._network(performance).eval()
for size in (64, 96):
    with torch.no_grad():
        assert network(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape == (1, 21, size, size)
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1, "something was compiled for scoring"
print("compiled")
"""


@pytest.mark.slow
def test_compiled_network_trains_alike_and_scores_any_size() -> None:
    done = run([], ROOT, COMPILED)  # a process of its own: torch counts graphs by process
    assert done.returncode == 0, done.stderr[-3000:]
    assert "compiled" in done.stdout


def test_emulated_bf16_warns_and_native_bf16_does_not(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    (tmp_path / "old").write_text("flags : fpu sse2 avx2 fma\n")
    (tmp_path / "new").write_text("flags : fpu avx512f avx512_bf16 amx_tile\n")
    note = precision_note("bf16-mixed", cpu, tmp_path / "old")
    assert note is not None
    assert note.startswith("--trainer.precision bf16-mixed: this processor has no bf16 instructions")
    assert precision_note("bf16-mixed", cpu, tmp_path / "new") is None
    assert precision_note("32-true", cpu, tmp_path / "old") is None
    assert precision_note("bf16-mixed", torch.device("cuda"), tmp_path / "old") is None
    assert precision_note("bf16-mixed", cpu, tmp_path / "none") is None
