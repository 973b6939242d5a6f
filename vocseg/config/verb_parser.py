"""Parser of the verbs that train, score or predict, and its help."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from vocseg.config.parser import Parser, RecipeFile

_MORE_HELP = (
    "\nLightning's Trainer (--trainer.max_epochs, .accelerator, .devices, .precision, ...): --help.trainer\n"
)


class TrainerHelp(argparse.Action):
    """Prints the flags of Lightning's Trainer and exits."""

    def __init__(self, option_strings: list[str], dest: str = argparse.SUPPRESS, **kwargs: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **kwargs)

    def __call__(self, parser: Any, *_: Any) -> None:
        """Print and exit."""
        print(parser.format_trainer_help())
        parser.exit()


def build_verb_parser(verb: str, **kwargs: Any) -> "VerbParser":
    """Build a parser with the flags that all verbs have.

    Args:
        verb: The verb.
        kwargs: See jsonargparse.
    """
    parser = VerbParser(**kwargs)
    parser.verb = verb
    parser.add_argument(
        "-c", "--config", action=RecipeFile, help="Name of a packaged recipe, or a YAML file."
    )
    parser.add_argument("--help.trainer", action=TrainerHelp, help="Show the flags of Lightning's Trainer.")
    parser.add_argument(
        "--json",
        type=Path | None,
        default=None,
        help="JSON file of all printed scores, with intervals and protocol (predict: area of each class in "
        "each image); `-`: standard output, and all other output goes to standard error.",
    )
    return parser


class VerbParser(Parser, LightningArgumentParser):
    """Lightning's parser with errors of one sentence and a help without the Trainer's flags."""

    verb = ""

    def format_help(self, formatter: Any = None) -> str:
        """Return a usage of one line and the flags of this project."""
        return self._formatted(lambda flag: not flag.startswith("trainer")) + _MORE_HELP

    def format_trainer_help(self) -> str:
        """Return the flags of Lightning's Trainer."""
        return self._formatted(lambda flag: flag.startswith("trainer"))

    def _formatted(self, shown: Callable[[str], bool]) -> str:
        usage, helps = self.usage, [action.help for action in self._actions]
        self.usage = f"python -m vocseg {self.verb} [--config RECIPE] [--GROUP.FLAG VALUE ...]"
        for action in self._actions:
            if not shown(action.dest):
                action.help = argparse.SUPPRESS
        try:
            return str(super().format_help())
        finally:
            self.usage = usage
            for action, text in zip(self._actions, helps, strict=True):
                action.help = text
