"""Entry point of `python -m vocseg`, which imports heavy modules only for commands that need them."""

import difflib
import errno
import inspect
import os
import select
import signal
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

from vocseg import __version__
from vocseg.errors import (
    ERROR_PRINTER,
    Interrupted,
    Stopped,
    UserError,
    check_readable,
    plain_output,
    printable,
    shown,
)
from vocseg.utils.signals import MAIN_PROCESS, SIGNAL_GUARD, end_with_main_process, exit_now

if TYPE_CHECKING:
    from vocseg.cli import VocCLI

_DELAY = 3.0  # seconds

VERBS = {
    "fit": "train the seed recipe: U-Net, ResNet-34, 256x256, 20 epochs (fetches VOC if it is missing)",
    "resume": "resume an interrupted run exactly: resume RUN",
    "finetune": "fine-tune trained weights on 1,000 train and 200 val images; compares before with after",
    "validate": "score weights on the validation images",
    "test": "score weights on the test images (for VOC: the validation split)",
    "predict": "write a mask and an overlay for every image of a folder and its sub-folders",
}
TOOLS = {  # function and description
    "sample": ("data.synthetic.write_sample", "write a synthetic data set in VOC's layout"),
    "download": ("data.download.command.download", "download VOC 2012 (2.0 GB), or SBD's masks (1.4 GB)"),
    "models": ("commands.models.models", "list decoders and encoders: models [PART OF A NAME]"),
    "audit": ("data.audit.command.audit", "check a data set and list each error"),
    "import": (
        "commands.import_annotations.import_annotations",
        "convert COCO or labelme annotations to a data set: import FORMAT SRC OUT",
    ),
    "augmentations": (
        "commands.preview_augmentations.augmentations",
        "draw a contact sheet of augmented images and masks",
    ),
    "submit": ("submission.command.submit", "write or check an archive for VOC's evaluation server"),
    "compare": ("commands.compare.compare", "test whether one run scores better than another"),
    "report": ("report.command.report", "write one HTML page about runs: scores, curves, images, labels"),
    "curves": ("report.curves.curves", "draw loss and mean IoU by epoch of one or several runs: an SVG file"),
    "push": ("commands.push.push", "write weights for smp.from_pretrained: a folder or a hub repository"),
    "export": ("deploy.export.export", "write an ONNX, OpenVINO or torch.export file, compared with PyTorch"),
    "benchmark": ("deploy.benchmark.benchmark", "measure latency, throughput and mean IoU of each format"),
    "app": ("commands.app.app", "serve a page to try a network, or two side by side"),
    "completion": (
        "completion.completion",
        "print a script for the Tab key: completion bash or zsh",
    ),
}

LEADING = {  # flags that may be positional
    ("runs",): " RUN [RUN ...]",
    ("root",): " [ROOT]",
    ("search",): " [NAME]",
    ("shell",): " SHELL",
    ("format", "source", "output"): " FORMAT SRC OUT",
}


def _help() -> str:
    lines = [f"  {name:<14} {what}" for name, what in VERBS.items()]
    tools = [f"  {name:<14} {what}" for name, (_, what) in TOOLS.items()]
    return "\n".join([
        "usage: python -m vocseg COMMAND [--help] [OPTIONS]",
        "\nSemantic segmentation on Pascal VOC 2012.",
        "\ntraining and scoring (they take --config RECIPE and Lightning's --trainer flags):", *lines,
        "\ntools:", *tools,
        "\n  --version      print the version",
        "\nStart with:  python -m vocseg fit",
    ])  # fmt: skip


def main(argv: list[str] | None = None) -> "VocCLI | None":
    """Run a command.

    Args:
        argv: Its arguments. None: those of the process.

    Returns:
        The `VocCLI` of a verb, with `trainer`, `model` and `datamodule`. None for a tool.

    Raises:
        SystemExit: With code 2 after a `UserError`, which is printed as one sentence.
    """
    words = sys.argv[1:] if argv is None else argv
    ERROR_PRINTER.reset()
    end_with_main_process()
    plain_output()
    try:
        check_readable(words)
        with SIGNAL_GUARD, SIGNAL_GUARD.claiming():
            return dispatch(words, argv)
    except (UserError, Stopped) as end:
        is_main, is_error = os.environ.get("LOCAL_RANK", "0") == "0", isinstance(end, UserError)
        if is_error and not is_main:
            time.sleep(_DELAY)  # if the main process meets the same error, it prints it and ends this one
        if is_main or is_error:
            ERROR_PRINTER.print(end.sentence)
        raise SystemExit(getattr(end, "exit_code", 2)) from end
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        name = shown(str(error.filename))
        ERROR_PRINTER.print(f"'{name}' is longer than the system allows. Use a shorter name.")
        raise SystemExit(2) from error
    except Interrupted as stop:
        resumes = words[:1] == ["download"]
        hint = "run this again to resume" if resumes else "no partial result was left: run it again"
        ERROR_PRINTER.print(f"stopped by {stop.name}; {hint}")
        raise SystemExit(stop.exit_code) from None
    finally:
        if os.environ.get(MAIN_PROCESS) == str(os.getpid()):
            del os.environ[MAIN_PROCESS]  # processes started later do not belong to the run


def dispatch(words: list[str], argv: list[str] | None) -> "VocCLI | None":
    """Run a command as `main` does, without its handling of errors and signals."""
    command = words[0] if words else "--help"
    if command in ("-h", "--help", "--version"):
        print(f"vocseg {__version__}" if command == "--version" else _help())
    elif command in TOOLS:
        _run_tool(command, words[1:])
    elif command == "resume":
        _print_loading(command)
        from vocseg.commands.resume import resume

        return resume(words[1:])
    elif command in VERBS:
        _print_loading(command)
        from vocseg.cli import VocCLI

        cli = VocCLI(argv)
        if code := getattr(cli.trainer, "exit_code", 0):  # 1: some images could not be read
            raise SystemExit(code)
        return cli
    else:
        raise UserError(_unknown(command))
    return None


def _print_loading(command: str) -> None:
    """Print that the libraries are imported, which takes seconds, unless they are, or nobody watches."""
    if sys.stderr.isatty() and "torch" not in sys.modules:
        print(f"vocseg {__version__} {command}: loading PyTorch and Lightning", file=sys.stderr, flush=True)


def _unknown(command: str) -> str:
    """The error for an unknown command, with a similar one or all."""
    others = {"train": "fit", "eval": "test", "evaluate": "test", "score": "test", "infer": "predict"}
    known = {name: name for name in (*VERBS, *TOOLS)} | others
    near = difflib.get_close_matches(command.lower(), known, n=1, cutoff=0.7)
    hint = f"do you mean {known[near[0]]}?" if near else f"the commands are {', '.join([*VERBS, *TOOLS])}"
    return f"there is no command '{printable(command)}'; {hint}"


def _run_tool(command: str, words: list[str]) -> None:
    from jsonargparse import auto_cli

    from vocseg.config.parser import Parser, append_list_flags, complete_switches, positional_to_flag

    module, _, name = TOOLS[command][0].rpartition(".")
    tool = getattr(import_module(f"vocseg.{module}"), name)
    parameters = inspect.signature(tool).parameters
    leading = next((names for names in LEADING if set(names) <= set(parameters)), ())
    words = positional_to_flag(words, leading, tool) if leading else words
    result = auto_cli(
        tool,
        args=complete_switches(append_list_flags(words, tool), tool),
        prog=f"python -m vocseg {command}{LEADING.get(leading, '')}",
        as_positional=False,
        parser_class=Parser,
    )
    if code := getattr(result, "exit_code", 0):
        raise SystemExit(code)


def _output_is_closed() -> bool:
    """Whether the reader of the standard output, such as `head`, has ended."""
    poll = select.poll()
    poll.register(sys.stdout, 0)  # errors are always reported
    return bool(poll.poll(0))


def console() -> None:
    """Run a command as the whole process, as `python -m vocseg` and the script `vocseg` do."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        if sys.platform == "win32" or not _output_is_closed():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python writes the rest at its end
        raise SystemExit(128 + signal.SIGPIPE) from None
    except SystemExit as end:
        if SIGNAL_GUARD.received and isinstance(end.code, int):
            exit_now(end.code)
        raise
    finally:
        if sys.platform != "win32":  # torch would report DataLoader workers that end with this process
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


if __name__ == "__main__":
    console()
