"""Files for --config of any bytes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.strategies import TEXT, VALUES, files, value_or_sentence
from vocseg.config.parser import RECIPES, Parser, RecipeFile
from vocseg.data.datamodule import VOCDataModule

RECIPE = b"seed_everything: 3\ndata:\n  size: 64\n  batch_size: 2\n  root: data\n  augmentation: light\n"
BOMB = b"data: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (k, k, b",".join([b"*%c" % (k - 1)] * 9)) for k in range(98, 106)
)  # nine levels of nine aliases


@pytest.fixture(scope="module")
def parser() -> Parser:
    """As the verbs have it, with the part that takes the most kinds of values."""
    parser = Parser(allow_abbrev=False, exit_on_error=True)
    parser.add_argument("-c", "--config", action=RecipeFile)
    parser.add_argument("--seed_everything", type=int)
    parser.add_class_arguments(VOCDataModule, "data")
    return parser


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "mine.yaml"


NAMES = ["root", "size", "batch_size", "train_split", "augmentation", "classes", "workers", "store", "seed"]
DATA = st.dictionaries(st.sampled_from(NAMES) | TEXT, VALUES, max_size=3).map(lambda data: {"data": data})


def _yaml(value: Any) -> bytes:
    return yaml.dump(value).encode("utf-8", "surrogatepass")


@given(
    files([RECIPE, *(path.read_bytes() for path in sorted(RECIPES.glob("*.yaml")))])
    | (DATA | VALUES).map(_yaml)
)
@example(b"")
@example(b"[1, 2]")
@example(b"data")
@example(b"data: {size: 2001-99-99}")
@example(b"\xff\xfe\x00")
@example(b"data: {size: [" * 300)
@example(b"data: \x1b[2J")
@example(b"data: &a {size: *a}")
@example(b"data: " + b"{size: " * 60 + b"1" + b"}" * 60)
@example(BOMB)
def test_recipe_of_any_content_is_read_or_refused(parser: Parser, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    value_or_sentence(lambda: parser.parse_args(["--config", str(path)]))
