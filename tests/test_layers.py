"""Imports run one way."""

import ast
from pathlib import Path

import pytest

import vocseg

PACKAGE = Path(__file__).parent.parent / "vocseg"

# The packages and top-level modules in the order of their imports: a line imports from the lines above it and
# from itself. `data` and `metrics` stand side by side and import nothing of each other.
LAYERS = (
    {"constants", "errors", "utils"},
    {"data", "metrics"},
    {"losses", "optim", "performance"},
    {"models"},
    {"visualization"},
    {"callbacks", "checkpoints", "inference", "loggers"},
    {"config"},
    {"commands", "deploy", "report", "submission", "trainer"},
    {"cli"},
    {"__main__", "completion"},
)
# Exceptions: `resume` is a verb of its own, but runs the command line of the run that it resumes; a process
# watchdog prints other processes' errors as the command line does; the module's prediction averages the
# variants of test-time augmentation, which needs no checkpoint.
EXCEPTIONS = {
    ("models/module.py", "inference"),
    ("commands/resume.py", "cli"),
    ("callbacks/process_watchdog.py", "config"),
}
HEAVY = {"torch", "torchvision", "lightning", "torchmetrics", "segmentation_models_pytorch", "albumentations"}
WITHOUT_TORCH = (  # with all that they import at their top
    *("__main__", "constants", "errors", "config/parser"),
    *("utils/atomic_write", "utils/checksum", "utils/regular_file", "utils/signals"),
    *("data/classes", "data/fingerprint", "data/splits", "data/synthetic", "data/voc"),
    *("commands/compare", "commands/preview_augmentations"),
    *(
        path.relative_to(PACKAGE).with_suffix("").as_posix()
        for folder in ("report", "data/audit", "data/download", "submission")
        for path in sorted((PACKAGE / folder).glob("*.py"))
    ),
)


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


def _layer(name: str) -> int:
    return next(k for k, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize(
    "path",
    sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_module_imports_from_its_layer_or_below(path: Path) -> None:
    inside = path.relative_to(PACKAGE)
    own = inside.parts[0].removesuffix(".py")
    for name in _imports(path):
        if not name.startswith("vocseg.") or (other := name.split(".")[1]) == own:
            continue
        if (inside.as_posix(), other) not in EXCEPTIONS:
            assert _layer(other) <= _layer(own), f"{inside} imports {name}"
            assert {own, other} != {"data", "metrics"}, f"{inside} imports {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "data").rglob("*.py")), ids=lambda path: path.stem)
def test_data_imports_lightning_in_datamodule_only(path: Path) -> None:
    if path.name != "datamodule.py":
        assert not any(name.split(".")[0] == "lightning" for name in _imports(path))


@pytest.mark.parametrize("path", sorted((PACKAGE / "metrics").rglob("*.py")), ids=lambda path: path.stem)
def test_metrics_import_no_lightning(path: Path) -> None:
    assert not any(name.split(".")[0] == "lightning" for name in _imports(path))


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_tool_imports_without_torch(name: str) -> None:
    seen: set[str] = set()
    todo = [PACKAGE / f"{name}.py"]
    while todo:
        for module in _imports(todo.pop(), top_level=True) - seen:
            seen.add(module)
            below = PACKAGE.parent / Path(*module.split("."))
            todo += [path for path in (below.with_suffix(".py"), below / "__init__.py") if path.is_file()]
    assert not {module.split(".")[0] for module in seen} & HEAVY


def test_package_has_all_lazy_names() -> None:
    assert all(getattr(vocseg, name).__name__ == name for name in vocseg.__all__)
    assert sorted(vocseg._MODULES) == sorted(vocseg.__all__)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from vocseg import nothing")


def test_albumentations_is_imported_by_one_file() -> None:
    users = [p.name for p in PACKAGE.rglob("*.py") if any("albumentations" in i for i in _imports(p))]
    assert users == ["augment.py"]
