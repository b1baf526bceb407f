"""Environments of clients' own, one for each list of requirements, made anew when the list has changed."""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent / ".clients"


def environment(name: str, requirements: Path) -> Path:
    """The Python of an environment that has what the file lists."""
    folder = ROOT / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    listed = requirements.read_text()
    if not stamp.exists() or stamp.read_text() != listed:
        venv.create(folder, clear=True, with_pip=True)
        quiet = ["--quiet", "--disable-pip-version-check"]
        subprocess.run([python, "-m", "pip", "install", *quiet, "-r", requirements], check=True, stdout=sys.stderr)
        stamp.write_text(listed)
    return python
