"""`metrics.csv`, whose rows stay when a run goes on."""

import csv
import io
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from vocseg.whole_files import write_whole


class Rows(ExperimentWriter):
    """Lightning's writer, but one that adds to a file that is there."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])


class Table(CSVLogger):
    """Lightning's logger with that writer."""

    @property
    def experiment(self) -> Rows:
        """What writes."""
        if self._experiment is None:
            self._experiment = Rows(log_dir=self.log_dir)
        return self._experiment  # type: ignore[return-value]


def count_rows(path: Path) -> int:
    """Rows of a table, its head left out; 0 if there is none."""
    if not path.is_file():
        return 0
    with path.open(newline="") as file:
        return max(0, sum(1 for _ in csv.reader(file)) - 1)


def keep_rows(path: Path, rows: int) -> None:
    """Leave the first rows of a table, written whole.

    Args:
        path: The table; nothing happens if there is none.
        rows: How many, its head left out.
    """
    if count_rows(path) <= rows:
        return
    with path.open(newline="") as file:
        kept = list(csv.reader(file))[: rows + 1]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(kept)
    write_whole(path, text.getvalue())
