"""Parser of the verbs that train, score or predict, and its help."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from vocseg.config.parser import Parser, RecipeFile

# Flags that scoring and prediction accept, as recipes and config.yaml have them, but do not use.
_TRAINING_FLAGS = (
    *("model.loss", "model.lr", "model.optimizer", "model.weight_decay", "model.momentum", "model.warmup"),
    *("model.encoder_weights", "model.encoder_lr_mult", "model.freeze_encoder", "data.sampling"),
    *("data.augmentation", "data.crop_scale", "data.train_split", "data.max_train_samples"),
    *("best_weights", "last_checkpoint", "weight_averaging", "image_panels"),
)
EXAMPLES = {
    "fit": (
        "--data.root ~/datasets/voc --trainer.max_epochs 50",
        "--config standard --config fast",
        "--data.root mine --data.classes mine/classes.txt --data.val_fraction 0.2",
    ),
    "finetune": ("--ckpt_path unet_voc.pth", "--ckpt_path unet_voc.pth --data.max_train_samples null"),
    "validate": ("--ckpt_path unet_voc.pth", "--ckpt_path best"),
    "test": (
        "--ckpt_path unet_voc.pth",
        "--ckpt_path unet_voc.pth --tta.flip true",
        "--ckpt_path best --json -",
    ),
    "predict": (
        "--ckpt_path unet_voc.pth --data.predict_dir photos",
        "--ckpt_path unet_voc.pth --data.predict_dir a.jpg --prediction_writer.output_dir out",
    ),
}
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
        examples = "\n".join(f"  python -m vocseg {self.verb} {each}" for each in EXAMPLES.get(self.verb, ()))
        flags = self._formatted(lambda flag: not flag.startswith("trainer"))
        return f"{flags}{_MORE_HELP}\nexamples:\n{examples}\n"

    def format_trainer_help(self) -> str:
        """Return the flags of Lightning's Trainer."""
        return self._formatted(lambda flag: flag.startswith("trainer"))

    def _formatted(self, shown: Callable[[str], bool]) -> str:
        scores = self.verb in ("validate", "test", "predict")
        groups, usage, helps = self._action_groups, self.usage, [action.help for action in self._actions]
        self.usage = f"python -m vocseg {self.verb} [--config RECIPE] [--GROUP.FLAG VALUE ...]"
        for action in self._actions:
            if not shown(action.dest) or (scores and action.dest.startswith(_TRAINING_FLAGS)):
                action.help = argparse.SUPPRESS
        used = [g for g in groups if any(a.help != argparse.SUPPRESS for a in g._group_actions)]
        own = ("help", "ckpt_path")  # the groups of the verb itself come first
        self._action_groups = sorted(used, key=lambda g: not any(a.dest in own for a in g._group_actions))
        try:
            return str(super().format_help())
        finally:
            self._action_groups, self.usage = groups, usage
            for action, text in zip(self._actions, helps, strict=True):
                action.help = text
