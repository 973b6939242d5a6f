"""Exported files of strangers."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import refused
from tests.fuzz.strategies import VALUES, mutated, value_or_sentence
from vocseg.inference.backends import load_trained, read_description


@pytest.fixture
def files(exported: Path, here: Path) -> Path:
    """A folder with a copy of each format: x.onnx, x.xml and x.bin, x.pt2."""
    for name in ("probabilities.onnx", "mask.xml", "mask.bin", "logits.pt2"):
        shutil.copy(exported / name, here / f"x{Path(name).suffix}")
    return here


def _onnx(change: Callable[[Any], object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import onnx

        model = onnx.load(folder / "x.onnx")
        change(model)
        (folder / "x.onnx").write_bytes(model.SerializeToString())

    return make


def _domain(model: Any) -> None:
    model.graph.node[3].domain = "evil.ops"


def _outside(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _function(model: Any) -> None:
    model.functions.add(name="f", domain="")


def _subgraph(model: Any) -> None:
    model.graph.node[3].attribute.add(name="body", type=5).g.name = "g"


def _description(**changes: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        entry = model.metadata_props[0]
        entry.value = json.dumps({**json.loads(entry.value), **changes})

    return change


def _text(name: str, old: str, new: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return make


def _pt2(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "x.pt2") as archive:
            content = {each: archive.read(each) for each in archive.namelist()}
        found = [each for each in content if each.endswith(name)]
        with zipfile.ZipFile(folder / "x.pt2", "w") as archive:
            for each, data in content.items():
                archive.writestr(each, change(data) if each in found else data)
            if not found:
                archive.writestr(f"x/{name}", change(b""))

    return make


def _once(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


def _pickle(_: bytes) -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save(Runs(), stream)
    return stream.getvalue()


class Runs:
    def __reduce__(self) -> Any:
        import os

        return os.mkdir, ("ran",)


def _noise(name: str, data: bytes = b"noise") -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


FAULTS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "onnx of another program": ("x.onnx", _onnx(lambda m: m.ClearField("metadata_props")), "no description"),
    "custom domain": ("x.onnx", _onnx(_domain), "operators of the domain 'evil.ops'"),
    "data outside": ("x.onnx", _onnx(_outside), "data in another file"),
    "function": ("x.onnx", _onnx(_function), "functions"),
    "sub-graph": ("x.onnx", _onnx(_subgraph), "a sub-graph"),
    "export entry": ("x.onnx", _onnx(_description(export={"size": 64})), "its entry `export` is not"),
    "classes": ("x.onnx", _onnx(_description(classes=["a", "b"], colours=None)), "its output probabilities"),
    "empty onnx": ("x.onnx", _noise("x.onnx", b""), "is not an ONNX file"),
    "noise as xml": ("x.xml", _noise("x.xml"), "is not an OpenVINO IR file"),
    "entities": ("x.xml", _noise("x.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><net/>'), "XML entities"),
    "custom operator": ("x.xml", _text("x.xml", 'version="opset1"', 'version="mine"'), "'mine'"),
    "bin missing": ("x.xml", lambda folder: (folder / "x.bin").unlink(), "x.bin is not beside it"),
    "bin cut": ("x.xml", _noise("x.bin"), "x.bin is damaged or of another file"),
    "ir of another program": ("x.xml", _text("x.xml", "<vocseg ", "<other "), "no description"),
    "noise as pt2": ("x.pt2", _noise("x.pt2"), "is not a file of torch.export"),
    "pickled inputs": ("x.pt2", _pt2("sample_inputs/model.pt", _pickle), "is not a file of torch.export"),
    "pickled weight": (
        "x.pt2",
        _pt2("model_weights_config.json", _once(b'"use_pickle": false', b'"use_pickle": 1')),
        "contains a pickle",
    ),
    "pickle beside": ("x.pt2", _pt2("data/constants/opaque_obj_0", _pickle), "opaque_obj_0"),
    "library": ("x.pt2", _pt2("data/aotinductor/model/a.so", _pickle), "a.so"),
    "function of torch": (
        "x.pt2",
        _pt2("models/model.json", _once(b"torch.ops.aten.conv2d.default", b"torch.hub.load")),
        "the function 'torch.hub.load'",
    ),
    "expression": (
        "x.pt2",
        _pt2("models/model.json", _once(b'"expr_str": "', b'"expr_str": "open(1) + ')),
        "the expression 'open(1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_foreign_file_is_refused_and_runs_no_code(
    files: Path, sample: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    name, make, what = FAULTS[fault]
    make(files)
    before = sorted(path.name for path in files.iterdir())
    if fault == "classes":  # found when it is run
        from vocseg.deploy.images import network_input, sample_images
        from vocseg.errors import UserError

        with pytest.raises(UserError, match=what):
            load_trained(name).network(network_input(sample_images(1)[0], 64))
        return
    said = refused(capsys, ["test", "--ckpt_path", name, "--data.root", str(sample)])
    assert what in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in files.iterdir()) == before


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_exported_files_of_any_bytes_are_read_or_refused(exported: Path, tmp_path: Path, suffix: str) -> None:
    source = next(path for path in sorted(exported.iterdir()) if path.suffix == suffix)
    if suffix == ".xml":
        shutil.copy(source.with_suffix(".bin"), tmp_path / "x.bin")
    path = tmp_path / f"x{suffix}"

    @settings(max_examples=20)
    @given(mutated([source.read_bytes()]) | st.binary(max_size=300))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        value_or_sentence(lambda: read_description(path), "--ckpt_path", path.name, greedy=True)

    check()


def test_exported_files_with_any_description_are_read_or_refused(exported: Path, tmp_path: Path) -> None:
    from vocseg.inference.exported import parsed_description

    valid = read_description(exported / "mask.xml")

    @given(
        st.dictionaries(st.sampled_from([*valid]), VALUES, max_size=2),
        st.dictionaries(st.sampled_from([*valid["export"]]), VALUES, max_size=2),
        VALUES,
    )
    def check(changes: Any, entries: Any, whole: Any) -> None:
        for content in (whole, {**valid, "export": valid["export"] | entries, **changes}):
            value_or_sentence(
                lambda content=content: parsed_description(tmp_path / "x.xml", json.dumps(content)),  # type: ignore[misc]
                "--ckpt_path",
                "x.xml",
            )

    check()
