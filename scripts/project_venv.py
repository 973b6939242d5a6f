"""Start of a script in the project's `.venv`, with the project on the import path."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads that spin would slow down what is compared
_VENV = ROOT / ".venv"
if _VENV.is_dir() and Path(sys.prefix).resolve() != _VENV.resolve():
    os.execv(_VENV / "bin/python", [str(_VENV / "bin/python"), *sys.argv])
sys.path.insert(0, str(ROOT))
