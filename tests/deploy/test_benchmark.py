"""Table of formats."""

import json
from pathlib import Path

import pytest

from vocseg.__main__ import main


def test_benchmark_measures_and_scores_formats(
    weights: Path, sample: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["benchmark", "--ckpt_path", str(weights), "--rounds", "1", "--data_root", str(sample)]
    main([*words, "--formats", "pytorch", "--formats", "onnx", "--json", "speeds.json"])
    said = capsys.readouterr().out
    found = json.loads((here / "speeds.json").read_text())
    names = {"pytorch float32", "pytorch channels-last", "onnx float32", "onnx int8"}
    assert {each["name"] for each in found["speeds"]} == names == found["scores"].keys()
    assert all(each["latency_ms"] > 0 and each["images_per_s"] > 0 for each in found["speeds"])
    assert {each["speedup"] for each in found["speeds"] if each["name"] == "pytorch float32"} == {1.0}
    assert found["scores"]["onnx float32"]["difference"] == pytest.approx(0, abs=1e-4)
    assert "IoU" in said


def test_benchmark_of_exported_file_measures_it_alone(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["benchmark", "--ckpt_path", str(exported / "mask.xml"), "--rounds", "1", "--json", "-"])
    found = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in found["speeds"]} == {"openvino float32"}
