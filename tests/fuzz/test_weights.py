"""Files of weights of any bytes, and with descriptions of any content."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save as save_safely

from tests.fuzz.strategies import VALUES, files, value_or_sentence
from vocseg.checkpoints.compatibility import described_classes, network_shape
from vocseg.checkpoints.weights import read_weights
from vocseg.models.network import load_encoder_file

DESCRIPTION = {
    "format": 1,
    "vocseg": "0.1",
    "arch": "unet",
    "encoder": "resnet18",
    "classes": ["background", "cat"],
    "colours": [[0, 0, 0], [1, 2, 3]],
    "size": 64,
    "data": {},
    "normalisation": {"mean": [0.5], "std": [0.5]},
    "score": None,
}
STATE = {"encoder.weight": torch.zeros(2, 3), "encoder.bias": torch.ones(2)}


def _saved(content: Any, **how: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **how)
    return stream.getvalue()


OURS = {"description": DESCRIPTION, "state_dict": STATE}
SOUND = [_saved(OURS), _saved({"vocseg": DESCRIPTION, "state_dict": STATE}), _saved(STATE)]
OLD = _saved(OURS, _use_new_zipfile_serialization=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


DESCRIBED = st.builds(
    lambda changes, without: {
        "description": {name: each for name, each in {**DESCRIPTION, **changes}.items() if name != without},
        "state_dict": STATE,
    },
    st.dictionaries(st.sampled_from([*DESCRIPTION]), VALUES, max_size=2),
    st.sampled_from([*DESCRIPTION, ""]),
)
CONTENT = VALUES | VALUES.map(lambda state: {"description": DESCRIPTION, "state_dict": {"a": state}})


@given(files([*SOUND, OLD]) | (DESCRIBED | CONTENT).map(_saved))
def test_weights_of_any_content_are_read_or_refused(folder: Path, data: bytes) -> None:
    path = folder / "x.pth"
    path.write_bytes(data)
    weights = value_or_sentence(lambda: read_weights(path), "--ckpt_path", "x.pth", greedy=True)
    if weights is not None:
        shape = network_shape(weights.description)
        assert shape["num_classes"] == len(described_classes(weights.description).names)


@given(files([*SOUND, OLD]), files([save_safely(STATE)]))
@example(b"", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}")
@example(b"", b"\2\0\0\0\0\0\0\0{}")
def test_encoder_weights_of_any_bytes_are_refused(folder: Path, pickled: bytes, safe: bytes) -> None:
    encoder = torch.nn.Linear(5, 7)
    for name, data in (("e.pth", pickled), ("e.safetensors", safe)):
        path = folder / name
        path.write_bytes(data)
        value_or_sentence(
            lambda path=path: load_encoder_file(encoder, path),  # type: ignore[misc]
            "--model.encoder_weights",
            name,
            greedy=True,  # torch asks for what a pickle says, and is refused it
        )
