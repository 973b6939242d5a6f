"""`completion`: commands, flags and values for the Tab key of a shell."""

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from typing import Literal

from vocseg.__main__ import TOOLS, VERBS, dispatch
from vocseg.config.parser import RECIPES

# jsonargparse completes through argcomplete too, but that would import torch at every press of the key.
_SCRIPT = """\
_vocseg() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}} $before" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _vocseg vocseg"""


def completion(shell: Literal["bash", "zsh"]) -> None:
    """Print a script with which the Tab key completes commands, flags and values of `vocseg`.

    The flags are those of the installed version. Where nothing fits, files are completed.

    Args:
        shell: Shell that reads the script.
    """
    helps = {name: _help(name) for name in (*VERBS, *TOOLS)}
    helps["resume"] += helps["fit"]
    cases = [f"            {case}" for name, text in helps.items() for case in _cases(name, text)]
    script = _SCRIPT.format(commands=" ".join(helps), cases="\n".join(cases))
    print("autoload -Uz bashcompinit && bashcompinit\n" * (shell == "zsh") + script)


def _help(command: str) -> str:
    """Help of a command, with the trainer's flags."""
    text = io.StringIO()
    for flag in ("--help", "--help.trainer") if command in VERBS and command != "resume" else ("--help",):
        with redirect_stdout(text), suppress(SystemExit):
            dispatch([command, flag], [command, flag])
    return text.getvalue()


def _cases(command: str, text: str) -> Iterator[str]:
    """Cases of the script: values of flags with a choice, then all flags."""
    choices = dict(re.findall(r"^  (?:-\w.*, )?(--[\w.]+) \{([\w.,+-]+)\}", text, re.MULTILINE))
    flags = dict.fromkeys(re.findall(r"^  (?:-\w.*, )?(--[\w.]+)", text, re.MULTILINE))
    if command in VERBS:
        choices["--config"] = ",".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
    for flag, values in choices.items():
        yield f'"{command} {flag}") words="{values.replace(",", " ")}" ;;'
    yield f'"{command} "*) words="{" ".join(flags)}" ;;'
