"""Packaged settings, and how --config finds them by name."""

import os
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

from vocseg.errors import UserError, shown

RECIPES = Path(__file__).parent


class RecipeFile(ActionConfigFile):
    """`--config NAME` for a packaged recipe, or a file of one's own; several compose from left to right."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Turn a name into its file.

        Raises:
            UserError: If it is neither a recipe nor a file, or says a thing twice.
        """
        recipe = RECIPES / f"{values}.yaml"
        if os.path.isfile(recipe):
            values = str(recipe)
        elif isinstance(values, str) and not os.path.isfile(values):
            names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
            raise UserError(f"--config {shown(values)}: neither a file nor a recipe; the recipes are {names}")
        try:
            super().__call__(parser, cfg, values, option_string)  # type: ignore[no-untyped-call]
        except UserError as fault:
            if fault.sentence.startswith("--config "):
                raise
            raise UserError(f"--config {shown(values)}: {fault.sentence}") from fault
        except (ValueError, AttributeError, RecursionError) as fault:  # PyYAML lets them through
            raise UserError(f"--config {shown(values)}: no YAML ({shown(fault)})") from fault
