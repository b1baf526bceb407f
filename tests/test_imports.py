"""Who may import whom: the design's table, read from the source of every package and enforced."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ALLOWED: dict[str, tuple[str, ...]] = {
    "cluster": ("cluster",),
    "metaraft": ("metaraft", "cluster"),
    "chunkd": ("chunkd", "cluster"),
    "api": (
        "api",
        "cluster",
        "metaraft.client",
        "metaraft.model",
        "metaraft.commands",
        "metaraft.queries",
        "metaraft.results",
        "chunkd.client",
        "chunkd.blocks",
    ),
    "chaos": ("chaos", "cluster", "metaraft", "chunkd", "api"),
    "tests": ("tests", "chaos", "cluster", "metaraft", "chunkd", "api"),
}
"""What each package may import of ours: the named modules and all below them. No one imports chaos or tests."""

DIALECTS = ("api.native", "api.s3")
"""They never import each other: what both need is an operation."""

JUNK_DRAWERS = frozenset({"utils", "util", "common", "helpers", "helper", "manager", "managers", "base"})

UNPICKLING = frozenset({"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"})
"""Modules that run code when they read data."""


def module_name(root: Path, path: Path) -> str:
    """Dotted name of a source file below the root."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(root: Path, path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of each import in a file, wherever in it, and of `import_module` with a plain name."""
    package = path.parent.relative_to(root).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom():
                above = package[: len(package) - node.level + 1] if node.level else ()
                source = ".".join((*above, *(node.module or "").split("."))).strip(".")
                for alias in node.names:
                    submodule = f"{source}.{alias.name}"
                    yield node.lineno, submodule if is_module(root, submodule) else source
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                if node.args and isinstance(node.args[0], ast.Constant):
                    yield node.lineno, str(node.args[0].value)
            case _:
                pass


def is_module(root: Path, name: str) -> bool:
    """There is a module or package of ours under that name."""
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def within(module: str, names: tuple[str, ...]) -> bool:
    """The module is one of `names` or below one."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def violation(importer: str, module: str) -> str | None:
    """Why `importer` may not import `module`; None if it may."""
    package, top = importer.partition(".")[0], module.partition(".")[0]
    if top in UNPICKLING and package != "tests":  # a test may show that pickling is refused
        return "nothing read from a network or a disk is ever unpickled"
    if top == "pysyncobj" and package != "tests" and not importer.startswith(("metaraft.core", "chaos.sim.")):
        return "only metaraft's core knows pysyncobj, and the simulator, which breaks it"
    if top in ALLOWED and not within(module, ALLOWED[package]):
        return f"{package} may import of ours only {', '.join(ALLOWED[package])}"
    for dialect in DIALECTS:
        others = tuple(other for other in DIALECTS if other != dialect)
        if within(importer, (dialect,)) and within(module, others):
            return "the dialects never import each other"
    return None


def violations(root: Path) -> list[str]:
    """All that is against the rules in the packages below the root."""
    found = []
    for package in ALLOWED:
        for path in sorted((root / package).rglob("*.py")):
            importer = module_name(root, path)
            if junk := JUNK_DRAWERS.intersection(importer.split(".")):
                found.append(f"{importer}: the name {', '.join(junk)} says nothing about what is in it")
            for line, module in imported(root, path):
                if reason := violation(importer, module):
                    found.append(f"{importer}:{line} imports {module}: {reason}")
    return found


def test_the_packages_keep_to_the_import_table() -> None:
    assert violations(ROOT) == []


def test_all_packages_are_looked_at() -> None:
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert ours == set(ALLOWED)
    assert len(list((ROOT / "metaraft").rglob("*.py"))) > 10


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("cluster/cli/main.py", "import api.app"),
        ("cluster/config.py", "from metaraft.model import Bucket"),
        ("metaraft/server.py", "from chunkd import blocks"),
        ("metaraft/server.py", "import pysyncobj"),
        ("chaos/load.py", "import pysyncobj"),
        ("chunkd/store.py", "def late():\n    from metaraft.client import MetaClient"),
        ("chunkd/store.py", "from pickle import loads"),
        ("api/app.py", "from metaraft.store import Store"),
        ("api/app.py", "from metaraft import store"),
        ("api/app.py", "import metaraft"),
        ("api/app.py", "from chunkd.store import Store"),
        ("api/app.py", "import chaos.bench"),
        ("api/native/objects.py", "from api.s3.xml import encode"),
        ("api/native/objects.py", "from ..s3 import xml"),
        ("api/s3/xml.py", "from api import native"),
        ("chaos/load.py", "from tests.disks import Disk"),
        ("metaraft/machine.py", "import marshal"),
        ("chaos/load.py", "importlib.import_module('shelve')"),
        ("api/utils.py", ""),
        ("cluster/common/frames.py", ""),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, file: str, source: str) -> None:
    for module in ("metaraft/store.py", "chunkd/blocks.py", "api/s3/xml.py", "api/native/objects.py", file):
        path = tmp_path / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / file).write_text(source)
    assert len(violations(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("cluster/cli/main.py", "from cluster import config\nfrom .output import table"),
        ("metaraft/core_library.py", "from pysyncobj.node import Node"),
        ("chaos/sim/bare.py", "from pysyncobj import SyncObj"),
        ("api/app.py", "from metaraft.client import MetaClient\nfrom chunkd import blocks\nimport trio"),
        ("api/native/objects.py", "from api.operations.objects import put"),
        ("chaos/load.py", "import api.app, metaraft.journal"),
        ("tests/test_x.py", "import chaos.bench, pysyncobj"),
    ],
)
def test_what_the_table_allows_passes(tmp_path: Path, file: str, source: str) -> None:
    for module in ("chunkd/blocks.py", "cluster/config.py", file):
        path = tmp_path / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / file).write_text(source)
    assert violations(tmp_path) == []
