"""The log: one JSON object per line on standard error, timestamps in UTC.

JSON escapes control characters, so no value can begin a line of its own. What goes in are facts with names; secrets
never do: a value under a name that sounds like one is replaced, as a second fence behind the callers' care.
"""

import importlib
import json
import sys
from collections.abc import MutableMapping
from typing import Any, cast


def _import_plain(name: str, without: str) -> None:
    """Import a module as if what it may use, if it is there, were not."""
    if without in sys.modules:
        importlib.import_module(name)
        return
    sys.modules[without] = None  # type: ignore[assignment] # the import system's way to say that there is none
    try:
        importlib.import_module(name)
    finally:
        del sys.modules[without]


_import_plain("structlog", without="rich")  # for colours, which no log here has: a fifth of what a member's start costs

import structlog  # noqa: E402
from structlog.typing import FilteringBoundLogger  # noqa: E402

_SECRET_NAMES = ("secret", "password", "passwd", "token", "authorization", "private_key", "credential", "cookie")
_TEXT_MAX = 16 * 1024
"""Characters of one value; a longer one is cut, so a peer cannot fill the disk through the log."""


def configure(role: str, node: str) -> None:
    """Send this process's log to standard error; each line says the role and the node."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _fence,
            structlog.processors.JSONRenderer(serializer=_dump),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=_to_stderr,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(role=role, node=node)


def get_logger(part: str) -> FilteringBoundLogger:
    """A logger whose lines say which part of the program speaks."""
    return cast(FilteringBoundLogger, structlog.get_logger(part=part))


def _fence(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        lower = name.lower()
        if any(word in lower for word in _SECRET_NAMES):
            event[name] = "[hidden]"
        elif isinstance(value, str) and len(value) > _TEXT_MAX:
            event[name] = f"{value[:_TEXT_MAX]}... ({len(value)} characters)"
    return event


def _dump(event: Any, **_ignored: Any) -> str:
    try:
        return json.dumps(event, default=str, skipkeys=True, allow_nan=False)
    except ValueError:  # not a number, or a circle: a line that says so is better than none
        return json.dumps({str(name): repr(value) for name, value in event.items()})


def _to_stderr(*_ignored: Any) -> structlog.PrintLogger:
    return structlog.PrintLogger(sys.stderr)


structlog.configure(logger_factory=_to_stderr)  # standard output belongs to commands, also before `configure`
