"""Imports run one way."""

import ast
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vocseg"

# What each room may import of vocseg. A name without a dot allows everything below it.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "file_parts": set(),
    "whole_files": {"errors", "file_parts"},
    "whole_folders": set(),
    "interruption": {"errors"},
    "seals": set(),
    "foreign_files": {"errors"},
    "tensor_files": {"errors", "foreign_files", "seals", "whole_files"},
    "arguments": {"errors", "complaints", "duplicates"},
    "complaints": set(),
    "plain_files": set(),
    "id_lists": {"errors", "plain_files"},
    "voc": {"errors", "id_lists"},
    "classes": {"voc"},
    "duplicates": {"errors", "plain_files"},
    "class_files": {"errors", "plain_files", "voc", "classes", "duplicates"},
    "data": {
        *{"errors", "plain_files", "voc", "classes", "class_files", "tensor_files", "whole_files", "data"},
        "id_lists",
    },
    "scores": {"errors", "voc", "seals", "whole_files", "scores"},
    "model": {"errors", "voc", "classes", "scores", "foreign_files", "tensor_files", "model"},
    "views": {"errors", "voc", "classes", "scores", "whole_files", "views"},
    "runs": {
        "errors",
        "interruption",
        "whole_files",
        "whole_folders",
        "voc",
        "classes",
        "scores",
        "tensor_files",
        "model",
        "runs",
    },
    "deploy": {
        "errors",
        "tensor_files",
        "whole_files",
        "voc",
        "classes",
        "model",
        "views",
        "runs",
        "deploy",
        "data.writing",
        "data.reading",
        "data.decoding",
        "data.resizing",
        "data.progress",
        "data.audit.streams",
        "scores",
    },
    "recipes": {"errors"},
    "trainer": {"errors", "data", "model", "runs", "reporting", "starting"},
    "reporting": {"errors", "deploy.masks", "model", "runs", "scores", "views", "whole_files"},
    "output": {"errors", "scores", "whole_files"},
    "augmentations": {
        *{"errors", "voc", "classes", "class_files", "data", "views", "whole_files"},
        "augmentation_sheet",
    },
    "augmentation_sheet": {"errors", "data", "views"},
    "compare": {"errors", "scores", "views", "whole_files"},
    "report": {
        "errors",
        "plain_files",
        "duplicates",
        "voc",
        "classes",
        "scores",
        "views",
        "whole_files",
        "data.reading",
        "compare",
        "report",
    },
    "starting": {"errors", "classes", "class_files", "foreign_files", "data", "model", "runs"},
    "standing": {"whole_files", "views", "runs", "deploy"},
    "cli": {
        "errors",
        "interruption",
        "starting",
        "standing",
        "data",
        "model",
        "runs",
        "trainer",
        "recipes",
        "arguments",
        "output",
        "next_steps",
    },
    "next_steps": {"data"},
    "resume": {"errors", "runs", "cli"},
    "__main__": {"errors", "interruption", "arguments", "resume", "cli"},
    "__init__": {"data.datamodule", "errors", "model", "runs", "scores", "views"},
}
HEAVY = {"torch", "torchvision", "lightning", "torchmetrics", "segmentation_models_pytorch", "albumentations"}


def _imports(path: Path, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "vocseg":
            found |= {f"vocseg.{alias.name}" for alias in node.names if alias.name != "__version__"}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    ours = {name.removeprefix("vocseg.") for name in _imports(path) if name.startswith("vocseg")}
    for name in ours:
        ways = {name, name.split(".")[0], ".".join(name.split(".")[:2])}
        assert ways & ALLOWED[room], f"{path.name} imports vocseg.{name}"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "__main__",
            "voc",
            "errors",
            "arguments",
            "complaints",
            "classes",
            "compare",
            "data/sample",
            "data/contents",
        ),
        *("whole_files", "file_parts", "whole_folders", "interruption", "seals", "foreign_files"),
        *("augmentations", "augmentation_sheet", "views/contact"),
        *(
            f"{room}/{path.stem}"
            for room in ("report", "views/report")
            for path in sorted((PACKAGE / room).glob("*.py"))
        ),
        *(
            f"data/{tool}/{path.stem}"
            for tool in ("audit", "download")
            for path in sorted((PACKAGE / "data" / tool).glob("*.py"))
        ),
        *(
            f"deploy/submission/{path.stem}"
            for path in sorted((PACKAGE / "deploy" / "submission").glob("*.py"))
            if path.stem != "predicting"
        ),
    ],
)
def test_tools_do_not_wait_for_torch(name: str) -> None:
    seen: set[str] = set()
    todo = [PACKAGE / f"{name}.py"]
    while todo:
        for module in _imports(todo.pop(), top_level=True) - seen:
            seen.add(module)
            below = PACKAGE.parent / Path(*module.split("."))
            todo += [path for path in (below.with_suffix(".py"), below / "__init__.py") if path.is_file()]
    assert not {module.split(".")[0] for module in seen} & HEAVY


@pytest.mark.parametrize("room", ["vocseg", "vocseg.scores", "vocseg.views"])
def test_a_room_that_fetches_its_names_late_has_all_of_them_and_no_others(room: str) -> None:
    package = importlib.import_module(room)
    assert all(getattr(package, name).__name__ == name for name in package.__all__)
    assert sorted(name for names in package._FILES.values() for name in names) == sorted(package.__all__)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec(f"from {room} import nothing")


def test_data_knows_no_lightning_but_in_its_module() -> None:
    users = [p.name for p in (PACKAGE / "data").rglob("*.py") if any("lightning" in i for i in _imports(p))]
    assert users == ["datamodule.py"]
    scores = [p for p in (PACKAGE / "scores").glob("*.py") if any("lightning" in i for i in _imports(p))]
    assert scores == []


def test_albumentations_is_known_to_one_file() -> None:
    users = [p.name for p in PACKAGE.rglob("*.py") if any("albumentations" in i for i in _imports(p))]
    assert users == ["photometric.py"]
