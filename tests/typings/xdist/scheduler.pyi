"""Types of pytest-xdist 3.8.0, of the parts that are used."""

import pytest

class LoadScopeScheduling:
    def __init__(self, config: pytest.Config, log: object | None = None) -> None: ...
    def _split_scope(self, nodeid: str) -> str: ...
