"""The command line of everything that trains or scores: LightningCLI with recipes by name."""

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]
from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from vocseg.data.datamodule import VOCDataModule
from vocseg.deploy import MaskWriter
from vocseg.errors import UserError
from vocseg.model import SegmentationModule
from vocseg.runs import (
    Announcement,
    BestWeights,
    LastCheckpoint,
    Speed,
    check_shape,
    claim_folder,
    network_shape,
    newest_weights,
    read_weights,
)
from vocseg.trainer import Trainer
from vocseg.views import Panels
from vocseg.views.progress import ProgressBar

RECIPES = Path(__file__).parent / "recipes"

_TRAINING = ("fit", "finetune")


class RecipeFile(ActionConfigFile):
    """`--config NAME` for a packaged recipe, or a file of one's own; several compose from left to right."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Turn a name into its file.

        Raises:
            UserError: If it is neither a recipe nor a file.
        """
        recipe = RECIPES / f"{values}.yaml"
        if recipe.is_file():
            values = str(recipe)
        elif isinstance(values, str) and not Path(values).is_file():
            names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
            raise UserError(f"--config {values}: neither a file nor a recipe; the recipes are {names}")
        super().__call__(parser, cfg, values, option_string)  # type: ignore[no-untyped-call]


class SaveTrainingConfig(SaveConfigCallback):
    """`config.yaml` for runs that train; a run that scores has nothing to repeat."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Write it when training starts."""
        if stage == "fit":
            super().setup(trainer, pl_module, stage)


class VocCLI(LightningCLI):
    """fit, finetune, validate, test and predict."""

    def __init__(self, args: list[str] | None = None) -> None:
        """Parse and run.

        Args:
            args: Instead of the process's own arguments.
        """
        _quieten()
        self.folder: Path | None = None
        try:
            self._run(args)
        except UserError:
            # A run that never began, as it has no config.yaml, leaves no folder.
            if self.folder is not None and not (self.folder / "config.yaml").exists():
                shutil.rmtree(self.folder)
            raise

    def _run(self, args: list[str] | None) -> None:
        super().__init__(
            SegmentationModule,
            VOCDataModule,
            save_config_callback=SaveTrainingConfig,
            trainer_class=Trainer,
            trainer_defaults={"log_every_n_steps": 10, "enable_model_summary": False},
            seed_everything_default=42,
            parser_kwargs={
                "allow_abbrev": False,
                **{verb: {"default_config_files": [str(RECIPES / f"{verb}.yaml")]} for verb in _TRAINING},
            },
            args=args,
            load_from_checkpoint_support=False,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's verbs and ours, with the arguments that are no flags."""
        own = {"weights_only", "verbose"}  # files are always read safely; the tables are ours
        verbs = {verb: skip | own for verb, skip in LightningCLI.subcommands().items()}
        return {"fit": verbs.pop("fit") - {"verbose"}, "finetune": {"model", "datamodule"}, **verbs}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser whose --config knows the packaged recipes."""
        parser = LightningArgumentParser(**kwargs)
        parser.add_argument(
            "-c", "--config", action=RecipeFile, help="Name of a packaged recipe, or a YAML file."
        )
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The standing callbacks: not in a recipe's list, since a user's list would replace it."""
        parser.link_arguments("seed_everything", "data.seed")
        parser.add_lightning_class_args(BestWeights, "best")
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.add_lightning_class_args(Panels, "panels")
        parser.add_lightning_class_args(MaskWriter, "predictions")
        parser.add_lightning_class_args(ProgressBar, "progress")
        self._parsers = [*getattr(self, "_parsers", []), parser]

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """What a file of weights says of its network are defaults: recipes and typed flags go before them."""
        super().parse_arguments(parser, args)
        verb = self.config["subcommand"]
        path = self._weights_path(verb, self.config[verb])
        if path is None:
            return
        about = read_weights(path).description
        shape = network_shape(about)
        for each in self._parsers:
            each.set_defaults(
                {**{f"model.{name}": value for name, value in shape.items()}, "data.size": about["size"]}
            )
        super().parse_arguments(parser, args)
        check_shape(path, shape, self.config[verb]["model"])
        self.config[verb]["ckpt_path"] = str(path)
        self.config[verb]["model"]["encoder_weights"] = None  # the file has the encoder's weights too

    def _weights_path(self, verb: str, config: Namespace) -> Path | None:
        """The file that the verb starts from."""
        if config["ckpt_path"] is not None:
            return Path(config["ckpt_path"])  # "last" or "best" are no files: a run's folder is its own
        newest = newest_weights(Path(config["trainer"]["default_root_dir"] or "."))
        if verb == "finetune" and newest is not None:
            print(f"fine-tuning the newest weights: {newest}")
            return newest
        if verb != "fit":
            hint = (
                f"the newest are {newest}"
                if newest
                else "fit makes them, as unet_voc.pth in the run's folder"
            )
            raise UserError(f"{verb} needs --ckpt_path FILE, the weights to use; {hint}")
        return None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Give the run a folder of its own, with TensorBoard and CSV logs in it."""
        config = self.config_init[self.subcommand]["trainer"]
        if not config["fast_dev_run"]:
            root = Path(config["default_root_dir"] or ".")
            if getattr(rank_zero_only, "rank", 0) == 0:
                self.folder = claim_folder(root, str(self.subcommand))
            # Lightning tells the other processes the main one's folder.
            kwargs |= _logging(self.folder or root, config["logger"])
        trainer = super().instantiate_trainer(**kwargs)
        assert isinstance(trainer, Trainer)
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> LightningTrainer:
        """Leave out the standing callbacks that the user's flags forbid, and add those without flags."""
        training = self.subcommand in _TRAINING
        keep = [c for c in callbacks if not isinstance(c, MaskWriter) or self.subcommand == "predict"]
        if config["enable_checkpointing"] is False:
            keep = [c for c in keep if not isinstance(c, LastCheckpoint)]
        if config["enable_progress_bar"] is False:
            keep = [c for c in keep if not isinstance(c, ProgressBar)]
        if training:
            keep += [Announcement(), Speed()] + (
                [LearningRateMonitor()] if config["logger"] is not False else []
            )
        return super()._instantiate_trainer(config, keep)


def _logging(folder: Path, extra: Any) -> dict[str, Any]:
    """Our loggers first, since Lightning takes the run's folder from the first; then the user's own."""
    if extra is False:
        return {"logger": False, "default_root_dir": folder}
    root, verb, version = folder.parent.parent, folder.parent.name, folder.name
    ours = [TensorBoardLogger(root, verb, version), CSVLogger(root, verb, version)]
    return {
        "logger": [*ours, *([] if extra in (None, True) else extra if isinstance(extra, list) else [extra])]
    }


def _quieten() -> None:
    """Keep back what Lightning says of folders that are new by construction, and its advertisements."""
    for folder in ("Checkpoint", "Experiment logs"):
        warnings.filterwarnings("ignore", message=f"{folder} directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addFilter(lambda record: "Tip:" not in record.getMessage())
