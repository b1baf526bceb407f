"""Exit codes: of the roles (what the supervisor does next) and of the commands (what a script may test).

The role codes follow sysexits.h, so that an init system reads them as well.
"""

from enum import IntEnum


class RoleExit(IntEnum):
    """How a role ended."""

    DONE = 0  # ended on SIGTERM or SIGINT, in order
    INTERNAL = 70  # EX_SOFTWARE: a defect or a lost peer; restart
    AGAIN = 75  # EX_TEMPFAIL: it ended to begin anew (a copy of the database is to be installed); restart at once
    DISK = 74  # EX_IOERR: journal or database failed; never restarted, an operator must look
    CONFIG = 78  # EX_CONFIG: wrong configuration or folder; never restarted


NOT_RESTARTED = frozenset({RoleExit.DISK, RoleExit.CONFIG})
"""Ends of a process that starting it again would only repeat. A death by a signal is none: one request that crashes a
process must not end it for good, and a member looks into its own (`metaraft.crashes`)."""


class CommandExit(IntEnum):
    """How a command of `trilith` ended."""

    OK = 0
    REFUSED = 1  # the request is wrong or not allowed
    USAGE = 2  # the command line is wrong (click's own code)
    NOT_FOUND = 3  # no such bucket, key or file
    UNAUTHORISED = 4  # no keys, wrong keys, or not allowed
    UNAVAILABLE = 5  # it did not happen; try again
    UNKNOWN = 6  # it may have happened
    CORRUPT = 7  # bytes did not match their checksum
    INCOMPLETE = 8  # it was done, and says that something is missing
    INTERRUPTED = 130  # Ctrl-C
    BROKEN_PIPE = 141  # whoever read the output went away
