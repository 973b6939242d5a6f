"""LightningCLI of the verbs that train, score or predict."""

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from vocseg.callbacks.defaults import SaveTrainingConfig, add_standing, drop_unused, without_flags
from vocseg.callbacks.last_checkpoint import LastCheckpoint
from vocseg.checkpoints.resume import ResumeTarget, RunDirectory
from vocseg.checkpoints.slurm import slurm_job
from vocseg.checkpoints.weights import WEIGHTS_NAME
from vocseg.commands.results import JsonOutput, add_json_flag, closing_lines
from vocseg.config.error_messages import to_user_error
from vocseg.config.initial_weights import InitialWeights, check_scoring_flags
from vocseg.config.parser import RECIPES, RecipeFile
from vocseg.config.validation import check_callbacks, check_flags, check_monitor
from vocseg.config.verb_parser import TrainerHelp, VerbParser
from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import Interrupted
from vocseg.loggers import filter_warnings, run_loggers
from vocseg.models.module import SegmentationModule
from vocseg.trainer import Trainer
from vocseg.utils.signals import SIGNAL_GUARD

_TRAINING = ("fit", "finetune")
_WITH_CURVES = (*_TRAINING, "validate", "test")  # verbs that log to TensorBoard
_DEFAULT_RECIPES = {"fit": "fit", "finetune": "finetune", "tune": "fit"}


class VocCLI(LightningCLI):
    """Command line of fit, finetune, tune, validate, test and predict.

    Beyond LightningCLI: recipes by name, defaults from the file of `--ckpt_path`, a run directory, default
    callbacks and loggers, and user errors as one sentence.
    """

    def __init__(self, args: list[str] | None = None, resumed: ResumeTarget | None = None) -> None:
        """Parse the arguments and run the verb.

        Args:
            args: Arguments. None: those of the process.
            resumed: Run to resume. None: a new run.
        """
        filter_warnings()
        self._args = sys.argv[1:] if args is None else args
        self._verb = next(iter(self._args), "")
        self._run_directory = RunDirectory(resumed)
        self._json_output = JsonOutput()
        recipes = {verb: name for verb, name in _DEFAULT_RECIPES.items() if verb in self.subcommands()}
        recipe_files = {
            verb: {"default_config_files": [str(RECIPES / f"{name}.yaml")]} for verb, name in recipes.items()
        }
        try:
            with SIGNAL_GUARD.claiming(), self._json_output:
                super().__init__(
                    SegmentationModule,
                    VOCDataModule,
                    save_config_callback=SaveTrainingConfig if self._verb in _WITH_CURVES else None,
                    trainer_class=Trainer,
                    trainer_defaults={"log_every_n_steps": 10, "enable_model_summary": False},
                    seed_everything_default=42,
                    auto_configure_optimizers=False,
                    parser_kwargs={"prog": "python -m vocseg", "allow_abbrev": False, **recipe_files},
                    args=args,
                    load_from_checkpoint_support=False,
                )
                self._print_closing_lines()
            self._json_output.write(self.trainer)
            if self._verb == "predict":  # --prediction_writer.output_dir leaves the run directory unused
                self._run_directory.drop_unused()
        except Exception as error:
            user_error = to_user_error(error, getattr(self, "trainer", None))
            if user_error is None:
                raise
            self._run_directory.drop_unused()
            if user_error is error:
                raise
            raise user_error from error
        except Interrupted as stop:
            trainer = getattr(self, "trainer", None)
            trained = trainer is not None and trainer.global_step > 0
            raise self._run_directory.stopped(stop, self._verb, trained) from stop
        finally:
            self._run_directory.release()

    @property
    def folder(self) -> Path | None:
        """Run directory. None: the verb leaves none."""
        return self._run_directory.path

    @property
    def exit_code(self) -> int:
        """Exit code of a completed verb: 1 if some images could not be read, else 0."""
        return int(getattr(self.trainer, "exit_code", 0))

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the given verb with the arguments that are no flags. Parsers of all verbs take a second."""
        hidden = {"weights_only", "verbose"}  # files are always loaded safely, and tables are our own
        verbs = {verb: skip | hidden for verb, skip in LightningCLI.subcommands().items()}
        verbs |= {"finetune": {"model", "datamodule"}, "tune": {"model", "datamodule"}}
        return {self._verb: verbs[self._verb]} if self._verb in verbs else verbs

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Return a parser with `--config`, which accepts packaged recipes by name, and `--json`."""
        parser = VerbParser(**kwargs)
        parser.verb = self._verb
        parser.add_argument(
            "-c", "--config", action=RecipeFile, help="Name of a packaged recipe, or a YAML file."
        )
        parser.add_argument(
            "--help.trainer", action=TrainerHelp, help="Show the flags of Lightning's Trainer."
        )
        add_json_flag(parser)
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the default callbacks. A recipe's list of callbacks would be replaced by a user's list."""
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        add_standing(parser)
        self._parsers = [*getattr(self, "_parsers", []), parser]

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse twice if `--ckpt_path` or a class list set defaults, so that typed flags override these."""
        super().parse_arguments(parser, args)
        verb = self.config["subcommand"]
        config = self.config[verb]
        self._json_output.open(config["json"])
        check_scoring_flags(verb, config)
        if verb in _TRAINING:
            self._run_directory.find_resumed(verb, config, self._args)
        weights = InitialWeights(verb, config)
        if weights.defaults:
            for each in self._parsers:
                each.set_defaults(weights.defaults)
            super().parse_arguments(parser, args)
            config = self.config[verb]
        weights.apply(config)
        self._exported = config["ckpt_path"] if weights.exported else None
        if weights.exported:  # Lightning would read it as a checkpoint
            config["ckpt_path"] = None
        self._num_classes = config["model"]["num_classes"]
        check_flags(verb, config)
        if "best_weights" in config:
            monitor = config["best_weights"]["monitor"]
            check_monitor("--best_weights.monitor", monitor, weights.classes.names)

    def before_instantiate_classes(self) -> None:
        """Set the data's seed after Lightning has drawn a random one, number of classes and exported file.

        Lightning overwrites the number of classes by that of a `.ckpt`.
        """
        config = self.config[self.subcommand]
        config["model"]["num_classes"] = self._num_classes
        config["data"]["seed"] = int(config["seed_everything"])
        if self._exported is not None:
            config["ckpt_path"] = self._exported

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Create the run directory, the loggers and the default callbacks."""
        verb, config = str(self.subcommand), self.config_init[self.subcommand]["trainer"]
        drop_unused(self._parsers, self.config_init[self.subcommand], verb)
        check_callbacks(config["callbacks"] or [], self.datamodule.classes.names)
        kwargs["callbacks"] = [*(config["callbacks"] or []), *without_flags()]
        if verb == "tune":
            kwargs["logger"] = False
        elif not config["fast_dev_run"]:
            root = Path(config["default_root_dir"] or ".")
            if getattr(rank_zero_only, "rank", 0) == 0:  # Lightning broadcasts the folder
                self._run_directory.claim(root, verb)
            kwargs |= run_loggers(self.folder or root, config["logger"], verb in _WITH_CURVES)
            if config["logger"] is not False and verb in _TRAINING:
                kwargs["callbacks"].append(LearningRateMonitor())
        trainer = super().instantiate_trainer(**kwargs)
        assert isinstance(trainer, Trainer)
        trainer.callbacks.sort(key=lambda each: not isinstance(each, LastCheckpoint))  # type: ignore[attr-defined]
        trainer.job = slurm_job(self._args) if verb in _TRAINING else None
        resumed = self._run_directory.resumed
        trainer.resumed = None if resumed is None else resumed.checkpoint
        return trainer

    def _print_closing_lines(self) -> None:
        """Print where the results are and which commands come next."""
        folder, verb = self.folder, self._verb
        if folder is None or verb not in ("fit", "finetune", "validate", "test") or not folder.is_dir():
            return
        weights = folder / WEIGHTS_NAME
        given = weights if verb in _TRAINING and weights.is_file() else None
        print("\n".join(["", *closing_lines(verb, folder, given, self.config[verb])]), flush=True)
