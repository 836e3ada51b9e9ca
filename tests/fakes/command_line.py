"""The command as a person gives it, in a folder, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bakery(folder, *words, columns=200):
    return subprocess.run(
        [sys.executable, "-m", "recipes.cli", *words],
        cwd=folder,
        env=os.environ | {"COLUMNS": str(columns), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
