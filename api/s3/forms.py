"""Upload forms, `multipart/form-data`, as a value machine: bytes in, events out (RFC 7578, RFC 2046 5.1).

S3's rules besides ('Browser-based uploads using POST'): fields come before the file, names in any case; there is one
file, the part named `file`, whatever else has a filename; what follows it is passed over. What stands before the file
is bounded, and so is what follows. A line that begins with the boundary and goes on is refused, because two readers
may take it differently; a part that says that it is encoded is refused, because nothing here would decode it.

The file's bytes are given on as slices of what came. The outcome is the same however the body is cut.
"""

import re
from dataclasses import dataclass
from typing import Literal

from cluster.errors import Refused
from cluster.limits import KIB, MIB

FILE = "file"
"""The name of the part that is the object."""

HEAD_BYTES_MAX = 8 * KIB
"""The boundary's line and the headers of one part."""

BEFORE_FILE_BYTES_MAX = 20 * KIB
"""All that stands before the file's first byte (S3: 20 KB of form data and boundaries)."""

AFTER_FILE_BYTES_MAX = MIB
"""What follows the file and is passed over (chosen: room for a page's other fields)."""

FIELDS_MAX = 100

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PARAMETER = re.compile(r';[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^ \t;"]*))[ \t]*')
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_PLAIN_ENCODINGS = frozenset({"7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True)
class FieldRead:
    """A field before the file; the name is in lower case."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegan:
    """The file's first byte comes next. The name is what stands behind the last slash or backslash; '' if none."""

    filename: str


@dataclass(frozen=True, slots=True)
class FileData:
    """Bytes of the file, at least one."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FileEnded:
    """The file is whole."""


@dataclass(frozen=True, slots=True)
class FormEnded:
    """The closing boundary was there."""


type Event = FieldRead | FileBegan | FileData | FileEnded | FormEnded


def is_form(content_type: str) -> bool:
    """Whether a Content-Type says that the body is a form."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names. Raises Refused (MalformedPOSTRequest)."""
    _, parameters = _parse_value(content_type)
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _malformed(f"its boundary is {boundary[:80]!r}; 1 to 70 of the characters in RFC 2046 are allowed")
    return boundary.encode()


class Form:
    """One form on its way in."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._state: Literal["content", "head", "ended"] = "content"
        self._matched = 2  # so many bytes of the delimiter are read; the body begins as if behind a line end
        self._part: Literal["preamble", "field", "file", "other"] = "preamble"
        self._name = ""
        self._value = bytearray()
        self._head = bytearray()
        self._fields = 0
        self._left = BEFORE_FILE_BYTES_MAX
        self._file_seen = False

    def feed(self, data: bytes) -> list[Event]:
        """What the next bytes complete.

        Raises Refused (MalformedPOSTRequest, MaxPostPreDataLengthExceededError, MaxMessageLengthExceeded,
        IncorrectNumberOfFilesInPostRequest); then the form is of no more use.
        """
        events: list[Event] = []
        at = 0
        while at < len(data):
            if self._state == "content":
                at = self._read_content(data, at, events)
            elif self._state == "head":
                at = self._read_head(data, at, events)
            else:
                self._spend(len(data) - at)
                at = len(data)
        return events

    def end(self) -> None:
        """The body has ended. Raises Refused (IncompleteBody, MalformedPOSTRequest)."""
        if self._state == "ended":
            return
        if self._part == "preamble" and self._state == "content":
            raise _malformed("the boundary that its Content-Type names is not there")
        raise Refused("IncompleteBody", "the form's closing boundary is missing")

    def _read_content(self, data: bytes, at: int, events: list[Event]) -> int:
        delimiter = self._delimiter
        if self._matched:
            missing = delimiter[self._matched :]
            got = data[at : at + len(missing)]
            if missing.startswith(got):
                self._matched += len(got)
                if len(got) == len(missing):
                    self._end_content(events)
                return at + len(got)
            # no delimiter after all; none can begin inside it, since its only CR is the first byte
            self._take(delimiter[: self._matched], events)
            self._matched = 0
        found = data.find(delimiter, at)
        if found >= 0:
            self._take(data[at:found], events)
            self._end_content(events)
            return found + len(delimiter)
        begun = data.rfind(b"\r", max(at, len(data) - len(delimiter) + 1))
        if begun >= 0 and delimiter.startswith(data[begun:]):
            self._matched = len(data) - begun
        self._take(data[at : len(data) - self._matched], events)
        return len(data)

    def _take(self, data: bytes, events: list[Event]) -> None:
        """Bytes of the part that is being read."""
        if self._part == "file":
            if data:
                events.append(FileData(data))
            return
        self._spend(len(data))
        if self._part == "field":
            self._value += data

    def _end_content(self, events: list[Event]) -> None:
        match self._part:
            case "field":
                events.append(FieldRead(self._name, _text(bytes(self._value), f"field {self._name[:80]!r}")))
            case "file":
                events.append(FileEnded())
                self._left = AFTER_FILE_BYTES_MAX
            case "preamble" | "other":
                pass
        self._spend(len(self._delimiter))
        self._matched = 0
        self._head.clear()
        self._state = "head"

    def _read_head(self, data: bytes, at: int, events: list[Event]) -> int:
        had = len(self._head)
        most = min(HEAD_BYTES_MAX, self._left)
        self._head += data[at : at + most - had]
        if self._head.startswith(b"--"):
            self._spend(2)
            self._close(events)
            return at + 2 - had
        behind = self._head.lstrip(b" \t")[:2]
        if self._head != b"-" and not b"\r\n".startswith(behind):
            raise _malformed("a line that begins with the boundary goes on")
        end = self._head.find(b"\r\n\r\n", max(0, had - 3))
        if end < 0:
            if len(self._head) >= most:
                self._spend(most + 1)  # raises where that limit is the nearer one
                raise _malformed(f"the head of a part is over {HEAD_BYTES_MAX} bytes")
            return at + len(self._head) - had
        self._spend(end + 4)
        self._open(bytes(self._head[:end]), events)
        return at + end + 4 - had

    def _open(self, head: bytes, events: list[Event]) -> None:
        """A part begins."""
        name, filename = _disposition(head.partition(b"\r\n")[2])
        self._state = "content"
        if name == FILE:
            if self._file_seen:
                raise _wrong_number(2)
            self._file_seen = True
            self._part = "file"
            events.append(FileBegan(re.split(r"[/\\]", filename)[-1]))
        elif self._file_seen:
            self._part = "other"
        else:
            self._fields += 1
            if self._fields > FIELDS_MAX:
                raise _malformed(f"it has over {FIELDS_MAX} fields")
            self._part, self._name = "field", name
            self._value.clear()

    def _close(self, events: list[Event]) -> None:
        if not self._file_seen:
            raise _wrong_number(0)
        self._state = "ended"
        events.append(FormEnded())

    def _spend(self, count: int) -> None:
        """Count bytes that are not the file's."""
        self._left -= count
        if self._left >= 0:
            return
        if self._file_seen:
            raise Refused(
                "MaxMessageLengthExceeded",
                f"over {AFTER_FILE_BYTES_MAX} bytes follow the file in the form",
                limit={"after_file_bytes_max": AFTER_FILE_BYTES_MAX},
            )
        raise Refused(
            "MaxPostPreDataLengthExceededError",
            f"Your POST request fields preceding the upload file were too large: over {BEFORE_FILE_BYTES_MAX} bytes",
            limit={"before_file_bytes_max": BEFORE_FILE_BYTES_MAX},
        )


def _disposition(lines: bytes) -> tuple[str, str]:
    """Name in lower case and filename that the headers of a part give."""
    headers: dict[str, str] = {}
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise _malformed(f"the header line {line[:80]!r} of a part is not NAME: VALUE")
        known = name.decode().lower()
        if known in headers:
            raise _malformed(f"the header {known[:80]!r} of a part is given more than once")
        headers[known] = _text(value, f"header {known[:80]!r} of a part").strip()
    if headers.get("content-transfer-encoding", "binary").lower() not in _PLAIN_ENCODINGS:
        raise _malformed("a part with a Content-Transfer-Encoding is not possible")
    kind, parameters = _parse_value(headers.get("content-disposition", ""))
    if kind != "form-data" or not parameters.get("name"):
        raise _malformed('a part has no header Content-Disposition: form-data; name="NAME"')
    return parameters["name"].lower(), parameters.get("filename", "")


def _parse_value(value: str) -> tuple[str, dict[str, str]]:
    """A header's value and its parameters; both kinds of names in lower case.

    In a quoted one only `\\"` is an escape: browsers write a backslash of a file's name as it is.
    """
    kind = value.partition(";")[0]
    parameters: dict[str, str] = {}
    at = len(kind)
    while at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None and not value[at:].strip("; \t"):
            break
        name = "" if match is None else match[1].lower()
        if match is None or name in parameters:
            raise _malformed(f"{value[:120]!r} is not KIND; NAME=VALUE, each name once")
        parameters[name] = match[3] if match[2] is None else match[2].replace('\\"', '"')
        at = match.end()
    return kind.strip().lower(), parameters


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _malformed(f"{what} is not UTF-8") from None


def _malformed(why: str) -> Refused:
    return Refused(
        "MalformedPOSTRequest", f"The body of your POST request is not well-formed multipart/form-data: {why}"
    )


def _wrong_number(count: int) -> Refused:
    return Refused(
        "IncorrectNumberOfFilesInPostRequest",
        "POST requires exactly one file upload per request.",
        detail={"ArgumentName": FILE, "ArgumentValue": str(count)},
    )
