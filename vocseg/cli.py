"""The command line of everything that trains or scores: LightningCLI with recipes by name."""

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from vocseg.callbacks.defaults import SaveTrainingConfig, add_standing, drop_unused, without_flags
from vocseg.callbacks.last_checkpoint import LastCheckpoint
from vocseg.checkpoints.resume import ResumeTarget, RunDirectory, find_latest_run, requeued_run
from vocseg.checkpoints.slurm import slurm_job
from vocseg.checkpoints.weights import WEIGHTS_NAME
from vocseg.commands.results import JsonOutput, add_json_flag, closing_lines
from vocseg.config.error_messages import to_user_error
from vocseg.config.initial_weights import InitialWeights, check_scoring_flags
from vocseg.config.parser import RECIPES, Parser, RecipeFile
from vocseg.config.validation import check_callbacks, check_flags, check_monitor
from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import Interrupted, UserError
from vocseg.loggers import filter_warnings, run_loggers
from vocseg.models.module import SegmentationModule
from vocseg.trainer import Trainer
from vocseg.utils.signals import SIGNAL_GUARD

_TRAINING = ("fit", "finetune")
_BASES = {"fit": "fit", "finetune": "finetune", "tune": "fit"}  # recipes that are in force from the start


class VerbParser(Parser, LightningArgumentParser):
    """Lightning's parser, refusing in a sentence."""


class VocCLI(LightningCLI):
    """fit, finetune, tune, validate, test and predict."""

    def __init__(self, args: list[str] | None = None, resumed: ResumeTarget | None = None) -> None:
        """Parse and run.

        Args:
            args: Instead of the process's own arguments.
            resumed: The run to go on with; None: a new one.
        """
        filter_warnings()
        self._words = sys.argv[1:] if args is None else args
        self._verb = next(iter(self._words), "")
        self._own = RunDirectory(resumed)
        self._output = JsonOutput()
        try:
            with SIGNAL_GUARD.claiming(), self._output:
                self._run(args)
                self._close()
            self._output.write(self.trainer)
            if self._verb == "predict":  # results that were sent elsewhere leave the folder unused
                self._own.drop_unused()
        except Exception as fault:
            known = to_user_error(fault, getattr(self, "trainer", None))
            if known is None:
                raise
            self._own.drop_unused()
            if known is fault:
                raise
            raise known from fault
        except Interrupted as stop:
            trainer = getattr(self, "trainer", None)
            trained = trainer is not None and trainer.global_step > 0
            raise self._own.stopped(stop, self._verb, trained) from stop
        finally:
            self._own.release()

    @property
    def folder(self) -> Path | None:
        """Where the command's results are; None: it keeps none."""
        return self._own.path

    def _close(self) -> None:
        """Say where the results are and what to do next, on the main process."""
        folder, verb = self.folder, self._verb
        if folder is None or verb not in ("fit", "finetune", "validate", "test") or not folder.is_dir():
            return
        weights = folder / WEIGHTS_NAME if verb in _TRAINING else None
        weights = weights if weights is not None and weights.is_file() else None
        print("\n".join(["", *closing_lines(verb, folder, weights, self.config[verb])]), flush=True)

    @property
    def exit_code(self) -> int:
        """Of the command, which came to its end: 1 if some images could not be read, else 0."""
        return int(getattr(self.trainer, "exit_code", 0))

    def _run(self, args: list[str] | None) -> None:
        bases = {verb: base for verb, base in _BASES.items() if verb in self.subcommands()}
        super().__init__(
            SegmentationModule,
            VOCDataModule,
            save_config_callback=SaveTrainingConfig if self._verb in _TRAINING else None,
            trainer_class=Trainer,
            trainer_defaults={"log_every_n_steps": 10, "enable_model_summary": False},
            seed_everything_default=42,
            auto_configure_optimizers=False,
            parser_kwargs={
                "prog": "python -m vocseg",
                "allow_abbrev": False,
                **{
                    verb: {"default_config_files": [str(RECIPES / f"{base}.yaml")]}
                    for verb, base in bases.items()
                },
            },
            args=args,
            load_from_checkpoint_support=False,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The verb that was typed, with the arguments that are no flags; all verbs' flags take a second."""
        own = {"weights_only", "verbose"}  # files are always read safely; the tables are ours
        verbs = {verb: skip | own for verb, skip in LightningCLI.subcommands().items()}
        verbs |= {"finetune": {"model", "datamodule"}, "tune": {"model", "datamodule"}}
        return {self._verb: verbs[self._verb]} if self._verb in verbs else verbs

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser whose --config knows the packaged recipes."""
        parser = VerbParser(**kwargs)
        parser.add_argument(
            "-c", "--config", action=RecipeFile, help="Name of a packaged recipe, or a YAML file."
        )
        add_json_flag(parser)
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The standing callbacks: not in a recipe's list, since a user's list would replace it."""
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        add_standing(parser)
        self._parsers = [*getattr(self, "_parsers", []), parser]

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """What files of weights and classes say of the network are defaults: typed flags go before them."""
        super().parse_arguments(parser, args)
        verb = self.config["subcommand"]
        self._output.open(self.config[verb]["json"])
        check_scoring_flags(verb, self.config[verb])
        if verb == "fit" and self.config[verb]["ckpt_path"] == "last":
            self._own.resumed = find_latest_run(self.config[verb])
            if self._own.resumed.verb != verb:
                folder = self._own.resumed.folder
                raise UserError(
                    f"{verb} --ckpt_path last: {folder} is a run of {self._own.resumed.verb}. Go on with: "
                    f"python -m vocseg resume {folder}"
                )
        elif verb in _TRAINING and self._own.resumed is None:
            root = Path(self.config[verb]["trainer"]["default_root_dir"] or ".")
            self._own.resumed = requeued_run(root, verb, self._words)
        if verb == "fit" and self._own.resumed is not None:
            self.config[verb]["ckpt_path"] = None  # what it began with matters no longer
        start = InitialWeights(verb, self.config[verb])
        if start.defaults:
            for each in self._parsers:
                each.set_defaults(start.defaults)
            super().parse_arguments(parser, args)
        start.apply(self.config[verb])
        self._classes = self.config[verb]["model"]["num_classes"]
        check_flags(verb, self.config[verb])
        if "best_weights" in self.config[verb]:
            monitor = self.config[verb]["best_weights"]["monitor"]
            check_monitor("--best_weights.monitor", monitor, start.classes.names)

    def before_instantiate_classes(self) -> None:
        """Where the seed was left to chance, order and augmentation follow what chance gave.

        Lightning has put the classes of a `.ckpt` over those of the data.
        """
        config = self.config[self.subcommand]
        config["model"]["num_classes"] = self._classes
        config["data"]["seed"] = int(config["seed_everything"])

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Give the run a folder of its own, with logs in it, and the callbacks that have no flags."""
        config = self.config_init[self.subcommand]["trainer"]
        drop_unused(self._parsers, self.config_init[self.subcommand], str(self.subcommand))
        check_callbacks(config["callbacks"] or [], self.datamodule.classes.names)
        kwargs["callbacks"] = [*(config["callbacks"] or []), *without_flags()]
        if self.subcommand == "tune":
            kwargs["logger"] = False
        elif not config["fast_dev_run"]:
            root = Path(config["default_root_dir"] or ".")
            if getattr(rank_zero_only, "rank", 0) == 0:
                self._own.claim(root, str(self.subcommand))
            # Lightning tells the other processes the main one's folder.
            kwargs |= run_loggers(self.folder or root, config["logger"], self.subcommand in _TRAINING)
            curves = config["logger"] is not False and self.subcommand in _TRAINING
            kwargs["callbacks"] += [LearningRateMonitor()] if curves else []
        trainer = super().instantiate_trainer(**kwargs)
        assert isinstance(trainer, Trainer)
        trainer.callbacks.sort(key=lambda each: not isinstance(each, LastCheckpoint))  # type: ignore[attr-defined]
        trainer.job = slurm_job(self._words) if self.subcommand in _TRAINING else None
        trainer.resumed = None if self._own.resumed is None else self._own.resumed.checkpoint
        return trainer
