"""What a run says before it begins."""

import pytest

from vocseg.callbacks.run_summary import _weight_lines


def test_class_weights_wrap_between_two_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    weights = [f"class{k} {k}.25" for k in range(6)]
    lines = _weight_lines(weights)
    assert lines[0] == "weights  class0 0.25, class1 1.25,"
    assert max(map(len, lines)) <= 40
    assert " ".join(" ".join(lines).split()[1:]) == ", ".join(weights)
    assert _weight_lines([]) == []
