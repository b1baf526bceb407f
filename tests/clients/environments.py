"""Where clients come from: environments of their own for those of PyPI, the system for those of Debian.

An environment is made for each list of requirements, and anew when the list has changed. What the system must have is
installed by `install.sh`, which `make test-clients` runs first.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent / ".clients"


class MissingClient(Exception):
    """A client that is to be tested is not on this machine; the text says what gets it."""


def environment(name: str, requirements: Path | None = None) -> Path:
    """The Python of an environment that has what the file lists (by default requirements/NAME.txt)."""
    folder, requirements = ROOT / name, requirements or FOLDER / "requirements" / f"{name}.txt"
    python, stamp = folder / "bin" / "python", folder / "installed"
    listed = requirements.read_text()
    if not stamp.exists() or stamp.read_text() != listed:
        venv.create(folder, clear=True, with_pip=True)
        quiet = ["--quiet", "--disable-pip-version-check"]
        subprocess.run([python, "-m", "pip", "install", *quiet, "-r", requirements], check=True, stdout=sys.stderr)
        stamp.write_text(listed)
    return python


def debian(package: str, file: str) -> Path:
    """A file of one of Debian's packages, a program mostly. Raises MissingClient."""
    found = Path(file)
    if not found.exists():
        how = f"run tests/clients/install.sh as root, or: apt-get install {package}"
        raise MissingClient(f"there is no {file} of Debian's package {package}; {how}")
    return found


def program(name: str) -> Path:
    """A program that is found on PATH. Raises MissingClient."""
    found = shutil.which(name)
    if found is None:
        raise MissingClient(f"there is no {name}; run tests/clients/install.sh as root, or: apt-get install {name}")
    return Path(found)
