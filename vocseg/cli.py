"""LightningCLI of the verbs that train, score or predict."""

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from vocseg.callbacks.defaults import SaveTrainingConfig, add_standing, drop_unused, without_flags
from vocseg.callbacks.last_checkpoint import LastCheckpoint
from vocseg.checkpoints.resume import ResumeTarget, RunDirectory, requeued_run
from vocseg.checkpoints.slurm import slurm_job
from vocseg.commands.results import JsonOutput, closing_lines
from vocseg.config.error_messages import raise_user_errors
from vocseg.config.initial_weights import InitialWeights
from vocseg.config.parser import RECIPES
from vocseg.config.validation import check_callbacks, check_flags
from vocseg.config.verb_parser import build_verb_parser
from vocseg.data.datamodule import VOCDataModule
from vocseg.loggers import filter_warnings, run_loggers
from vocseg.models.module import SegmentationModule
from vocseg.trainer import Trainer

_TRAINING = ("fit", "finetune")
_WITH_CURVES = (*_TRAINING, "validate", "test")  # verbs that log to TensorBoard


class VocCLI(LightningCLI):
    """Command line of fit, finetune, validate, test and predict.

    Beyond LightningCLI: recipes by name, defaults from the file of `--ckpt_path`, a run directory, default
    callbacks and loggers, and user errors as one sentence.

    Attributes:
        run_directory: Directory of the run's results.
    """

    def __init__(self, args: list[str] | None = None, resumed: ResumeTarget | None = None) -> None:
        """Parse the arguments and run the verb. `resumed`: run to resume."""
        filter_warnings()
        self._args = sys.argv[1:] if args is None else args
        self._verb = next(iter(self._args), "")
        self._json_output = JsonOutput()
        self.run_directory = RunDirectory(resumed)
        with raise_user_errors(self, self._verb), self._json_output:
            super().__init__(
                SegmentationModule,
                VOCDataModule,
                save_config_callback=SaveTrainingConfig if self._verb in _WITH_CURVES else None,
                trainer_class=Trainer,
                trainer_defaults={"log_every_n_steps": 10, "enable_model_summary": False},
                seed_everything_default=42,
                auto_configure_optimizers=False,
                parser_kwargs={"prog": "python -m vocseg", "allow_abbrev": False},
                args=args,
                load_from_checkpoint_support=False,
            )
            self._json_output.write(self.trainer)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the given verb with the arguments that are no flags. Parsers of all verbs take a second."""
        hidden = {"weights_only", "verbose"}  # files are always loaded safely, and tables are our own
        verbs = {verb: skip | hidden for verb, skip in LightningCLI.subcommands().items()}
        verbs["finetune"] = {"model", "datamodule"}
        return {self._verb: verbs[self._verb]} if self._verb in verbs else verbs

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Return a parser with `--config`, which accepts packaged recipes by name, and `--json`."""
        return build_verb_parser(self._verb, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the verb's recipe and the default callbacks, which a user's list does not replace."""
        if self._verb in _TRAINING:
            parser.default_config_files = [str(RECIPES / f"{self._verb}.yaml")]
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        add_standing(parser)
        self._verb_parser = parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse twice if `--ckpt_path` or a class list set defaults, so that typed flags override these."""
        super().parse_arguments(parser, args)
        config = self.config[self._verb]
        self._json_output.open(config["json"])
        root = Path(config["trainer"]["default_root_dir"] or ".")
        if self._verb in _TRAINING and self.run_directory.resumed is None:
            self.run_directory.resumed = requeued_run(root, self._verb, self._args)
        if self._verb == "fit" and self.run_directory.resumed is not None:
            config["ckpt_path"] = None  # the weights that the run started from are not needed any more
        weights = InitialWeights(self._verb, config)
        if weights.defaults:
            self._verb_parser.set_defaults(weights.defaults)
            super().parse_arguments(parser, args)
            config = self.config[self._verb]
        check_flags(self._verb, config, weights.classes.names)
        weights.check_classes()
        self._ckpt_path, config["ckpt_path"] = weights.path, None  # or Lightning would read it once more

    def before_instantiate_classes(self) -> None:
        """Set the initial weights, and the data's seed after Lightning has drawn a random one."""
        config = self.config[self._verb]
        config["data"]["seed"] = int(config["seed_everything"])
        if self._ckpt_path is not None:
            config["ckpt_path"] = str(self._ckpt_path)
            config["model"]["encoder_weights"] = None  # the file contains the encoder's weights

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Create the run directory, the loggers and the default callbacks."""
        verb, config = self._verb, self.config_init[self._verb]["trainer"]
        callbacks = config["callbacks"] or []
        check_callbacks(callbacks, self.datamodule.classes.names)
        drop_unused([self._verb_parser], self.config_init[verb])
        kwargs["callbacks"] = [*callbacks, *without_flags()]
        if not config["fast_dev_run"]:
            root = Path(config["default_root_dir"] or ".")
            if getattr(rank_zero_only, "rank", 0) == 0:  # Lightning broadcasts the folder
                self.run_directory.claim(root, verb)
            kwargs |= run_loggers(self.run_directory.path or root, config["logger"], verb in _WITH_CURVES)
            if config["logger"] is not False and verb in _TRAINING:
                kwargs["callbacks"].append(LearningRateMonitor())
        trainer: Any = super().instantiate_trainer(**kwargs)
        trainer.callbacks.sort(key=lambda each: not isinstance(each, LastCheckpoint))
        trainer.job = slurm_job(self._args) if verb in _TRAINING else None
        trainer.resumed = self.run_directory.resumed and self.run_directory.resumed.checkpoint
        return trainer  # type: ignore[no-any-return]

    def after_fit(self) -> None:
        """Print where the results are and which commands come next."""
        folder = self.run_directory.path
        if folder is not None and folder.is_dir():
            lines = closing_lines(self._verb, folder, self.config[self._verb])
            print("\n".join(["", *lines]), flush=True)

    after_finetune = after_validate = after_test = after_fit

    def after_predict(self) -> None:
        """Remove the run directory if `--prediction_writer.output_dir` leaves it unused."""
        self.run_directory.drop_unused()
