"""Commands, Python snippets, links, flags and test names of every README."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from tests.conftest import ROOT, TINY
from tests.exports import MAKERS
from vocseg.__main__ import TOOLS, VERBS, main
from vocseg.data.synthetic import write_sample
from vocseg.deploy import benchmark, convert, export

MOST_LINES = 180  # of the README at the top, which is read in five minutes
FOLDERS = ("scripts", "tests", "vocseg")  # others hold data and runs
PATHS = [ROOT / "README.md", *sorted(path for name in FOLDERS for path in (ROOT / name).rglob("README.md"))]
READMES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PATHS}
every_readme = pytest.mark.parametrize("name", READMES)


def _blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", READMES[name], re.DOTALL)


def _commands(name: str) -> list[str]:
    lines = "".join(_blocks(name, "bash")).replace("\\\n", " ").splitlines()
    words = [line.split("  #")[0].strip() for line in lines]
    return [line for line in words if line and not line.startswith("#")]


COMMANDS = list(dict.fromkeys(command for name in READMES for command in _commands(name)))

# What a test machine lacks, or what would take hours there, and what stands for it.
REPLACED = {
    "--trainer.devices": "1",
    "--trainer.num_nodes": "1",
    "--trainer.strategy": "auto",
    "--trainer.precision": "32-true",
    "--data.root": "data",
    "--data.max_train_samples": "8",
    "--data.max_val_samples": "4",
    "--max_batch_size": "4",
    "--formats": "pytorch",
    "--rounds": "1",
}
ONE_STEP = "--trainer.accelerator cpu --trainer.fast_dev_run true"
ONE_EPOCH = "--trainer.accelerator cpu --trainer.limit_train_batches 2 --trainer.max_epochs 1"
TRAINED = f"--model.encoder {TINY} --model.encoder_weights null --data.image_size 64"


def _small(words: list[str]) -> list[str]:
    """The same command on the sample set, with a tiny network and few steps."""
    verb, own = words[0], set(words) & set(MAKERS)  # `own`: a data set that is not VOC
    small = [word if own else REPLACED.get(words[k - 1], word) for k, word in enumerate(words)]
    kept = Path("lightning_logs/fit/version_1").exists()  # the runs that other commands read
    more = {
        "fit": f"{TRAINED} {ONE_STEP if kept else ONE_EPOCH}",
        "finetune": f"--data.max_train_samples 8 --data.max_val_samples 4 {ONE_EPOCH}",
        "resume": "--trainer.max_epochs 2",
        **dict.fromkeys(("validate", "test", "predict"), "--trainer.accelerator cpu"),
    }
    return [*small, *more.get(verb, "").split()]


def _convert_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert equal networks once, and write float32 for int8: `tests/deploy` tests the conversions."""
    models: dict[Any, Any] = {}
    model = convert.onnx_model

    def model_once(network: Any, settings: Any) -> Any:
        key = *settings[:3], float(next(network.parameters()).detach().sum())
        return models.setdefault(key, models.get(key) or model(network, settings))

    def float32(source: Any, path: Path, settings: Any, *_: Any) -> Any:
        return export._export_float(source, path, "openvino", settings)

    monkeypatch.setattr(convert, "onnx_model", model_once)
    monkeypatch.setattr(benchmark, "onnx_model", model_once)
    monkeypatch.setattr(export, "export_int8", float32)


def _break_off(run: Path) -> None:
    """Mark a finished run as interrupted at the end of its last epoch."""
    path = run / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["vocseg_run"]["finished"] = False
    torch.save(checkpoint, path)


def test_python_snippets_run(sample: Path, trained: Path, here: Path) -> None:
    """As in one notebook: the snippets of the folders use the names of the top README."""
    (here / "photos").mkdir()
    picture = next((sample / "VOCdevkit/VOC2012/JPEGImages").iterdir())
    for name in ("photo.jpg", "photos/photo.jpg"):
        shutil.copy(picture, here / name)
    code = "\n".join(block for name in READMES for block in _blocks(name, "python"))
    for usual, small in {
        'root="data", image_size=256': f"root={str(sample)!r}, image_size=64",
        'encoder="resnet34", encoder_weights="imagenet"': f'encoder="{TINY}"',
        'encoder="resnet34", lr': f'encoder="{TINY}", lr',
        "max_epochs=20": "max_epochs=1, accelerator='cpu'",
        "max_epochs=25": "max_epochs=2, accelerator='cpu'",
        "lightning_logs/fit/version_0": str(trained),
    }.items():
        assert usual in code
        code = code.replace(usual, small)
    names: dict[str, Any] = {}
    exec(code, names)
    assert Path(names["best"].best_model_path).is_file()
    assert names["trainer"].current_epoch == 2
    assert (names["epoch"], len(names["loader"])) == (2, 5)
    assert names["result"].mask.shape == Image.open("photo.jpg").size[::-1]
    assert Path("results/overlays/photo.jpg").is_file()
    assert names["prediction"].shape == names["batch"]["mask"].shape
    with Image.open("first.png") as picture:
        assert picture.width == 1024


def test_top_readme_is_short() -> None:
    assert len(READMES["README.md"].splitlines()) <= MOST_LINES


def test_long_readmes_have_a_table_of_contents() -> None:
    for name, text in READMES.items():
        assert len(text.splitlines()) < 110 or re.search(r"\]\(#", text), name


def test_readmes_have_commands_of_every_verb() -> None:
    assert _commands("README.md")[:2] == ["scripts/demo", "scripts/test"]
    assert {command.split()[3] for command in COMMANDS if command.startswith("python -m vocseg ")} >= {
        *VERBS,
        "sample",
    }


def test_readmes_call_known_programs_only() -> None:
    for command in COMMANDS:
        if command.startswith("scripts/"):
            assert (ROOT / command.split()[0]).stat().st_mode & 0o100
        else:
            assert command.startswith(("python -m vocseg ", "tensorboard ", "torchrun "))


@pytest.mark.slow
def test_every_command_runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _convert_once(monkeypatch)
    write_sample(here / "data", train=16, val=5, progress=False)
    for name, make in MAKERS.items():
        make(here / name)
    (here / "photos").mkdir()
    shutil.copy(next((here / "data/VOCdevkit/VOC2012/JPEGImages").iterdir()), "photos")
    for command in COMMANDS:
        if not command.startswith("python -m vocseg "):
            continue
        print(command)  # shown by pytest if it fails
        words = shlex.split(command)[3:]
        if words[0] == "compare":  # needs a second run, scored in the same way
            shutil.rmtree("lightning_logs/test/version_1", ignore_errors=True)
            shutil.copytree("lightning_logs/test/version_0", "lightning_logs/test/version_1")
        if words[0] == "resume":
            _break_off(Path(words[1]))
        if words[0] in ("app", "download", "sample") or words == ["fit", "--help"]:  # `app` does not end
            with pytest.raises(SystemExit) as exit:
                main([words[0], "--help"])
            assert exit.value.code == 0
        elif words[0] in TOOLS or words[0] in VERBS:
            main(_small(words))


def _anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_readme
def test_links_and_pictures_exist(name: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", READMES[name]):
        path, _, anchor = target.partition("#")
        there = (ROOT / name).parent / path if path else ROOT / name
        assert there.exists(), target
        assert not anchor or anchor in _anchors(there.read_text()), target


def test_flags_in_readmes_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    for name, text in READMES.items():
        for flag in re.findall(r"--([a-z_]+(?:\.[a-z_]+)+)\b(?!\.\*)", text):
            inner = config
            for part in flag.split("."):
                assert isinstance(inner, dict), f"{name}: --{flag}"
                assert part in inner, f"{name}: --{flag}"
                inner = inner[part]


def test_tests_named_in_readmes_exist() -> None:
    there = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {test for text in READMES.values() for test in re.findall(r"`(test_\w+)`", text)}
    assert len(named) > 100
    assert {test for test in named if f"def {test}(" not in there} == set()
