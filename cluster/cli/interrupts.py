"""Ctrl-C as itself: a nursery makes a group of whatever ends it, and nobody outside of a trio run would know
KeyboardInterrupt in it."""

import contextlib
from collections.abc import Iterator

import click


@contextlib.contextmanager
def interrupt_as_itself() -> Iterator[None]:
    """Raises KeyboardInterrupt (or click.Abort) in place of a group of nothing else. Other groups pass."""
    try:
        yield
    except BaseExceptionGroup as group:
        for kind in (KeyboardInterrupt, click.Abort):
            if group.split(kind)[1] is None:
                raise kind from None
        raise
