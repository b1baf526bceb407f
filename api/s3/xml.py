"""XML as S3 writes and reads it. Pure: strings out by concatenation, a small tree in by expat.

Written: UTF-8, S3's namespace on the root, no white space between elements; characters that XML 1.0 has no place for
leave as numeric references, as S3 does (clients ask for `encoding-type=url` where that matters). Read: no DOCTYPE, so
neither entities nor anything external; bounded depth, number of elements and size. Namespaces are left out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.parsers import expat

from cluster.errors import Refused
from cluster.limits import KIB, MIB

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

BODY_BYTES_MAX = 8 * MIB
"""A legal DeleteObjects has 4.9 MB: 1,000 keys of 1,024 bytes, each byte a reference."""

DEPTH_MAX = 16
ELEMENTS_MAX = 100_000
"""CompleteMultipartUpload of 10,000 parts with all checksums has 80,001."""

TOKEN_BYTES_MAX = 64 * KIB
"""A tag or a comment, which is read as one: a million attributes take expat seconds. Text comes in pieces."""

_FEED_BYTES = 64 * KIB

_SPECIAL = re.compile(r'[<>&"\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]')
_REFERENCES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;"}


def escape(text: str) -> str:
    """Text as an element's content."""
    return _SPECIAL.sub(_reference, text)


def _reference(match: re.Match[str]) -> str:
    character = match[0]
    return _REFERENCES.get(character) or f"&#x{ord(character):X};"


def element(name: str, text: str | int) -> str:
    """One element with text in it."""
    return f"<{name}>{escape(text) if isinstance(text, str) else text}</{name}>"


def optional(name: str, text: str | int | None) -> str:
    """The element, or nothing for None."""
    return "" if text is None else element(name, text)


def flag(name: str, value: bool) -> str:
    """`true` or `false`."""
    return f"<{name}>{'true' if value else 'false'}</{name}>"


def group(name: str, *inner: str) -> str:
    """An element around elements."""
    return f"<{name}>{''.join(inner)}</{name}>"


def document(root: str, inner: Iterable[str], *, namespace: bool = True) -> bytes:
    """A whole document."""
    attribute = f' xmlns="{NAMESPACE}"' if namespace else ""
    return f"{DECLARATION}<{root}{attribute}>{''.join(inner)}</{root}>".encode()


@dataclass(slots=True)
class Node:
    """One element: its name without namespace, its own text, its children in order."""

    name: str
    text: str = ""
    children: list["Node"] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)

    def find(self, name: str) -> "Node | None":
        """The first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def all(self, name: str) -> list["Node"]:
        """All children of that name."""
        return [child for child in self.children if child.name == name]

    def value(self, name: str) -> str | None:
        """The text of the first child of that name, None if there is none."""
        found = self.find(name)
        return None if found is None else found.text


def known(node: Node, *names: str) -> None:
    """Raises Refused (MalformedXML) if the element has children of other names."""
    for child in node.children:
        if child.name not in names:
            raise malformed(f"{node.name} must not have {child.name[:80]!r} in it; it may have {', '.join(names)}")


def required(node: Node, name: str) -> Node:
    """The one child of that name. Raises Refused (MalformedXML)."""
    found = maybe_one(node, name)
    if found is None:
        raise malformed(f"{node.name} must have one {name}")
    return found


def maybe_one(node: Node, name: str) -> Node | None:
    """The child of that name, None if there is none. Raises Refused (MalformedXML) if there are more."""
    found = node.all(name)
    if len(found) > 1:
        raise malformed(f"{node.name} must have at most one {name}, it has {len(found)}")
    return found[0] if found else None


def malformed(why: str) -> Refused:
    """S3's refusal of a body that is not the XML it must be."""
    return Refused("MalformedXML", f"The XML you provided was not well-formed or did not validate: {why}")


def parse(body: bytes, root: str) -> Node:
    """The tree of a document whose root has that name. Raises Refused (MalformedXML)."""
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.SetReparseDeferralEnabled(False)  # what is not complete in 64 KiB is refused, and never read again
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.doctype
    try:
        for start in range(0, len(body), _FEED_BYTES):
            parser.Parse(body[start : start + _FEED_BYTES], False)
            if min(start + _FEED_BYTES, len(body)) - parser.CurrentByteIndex > TOKEN_BYTES_MAX:
                raise malformed(f"a tag has over {TOKEN_BYTES_MAX} bytes")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise malformed(str(error)) from None
    found = builder.root
    if found is None or found.name != root:
        raise malformed(f"the root element must be {root}")
    return found


class _Builder:
    """Builds the tree within its bounds; what it raises leaves through the parser."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[tuple[Node, list[str]]] = []  # with the pieces of its text: joined once, however many
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS_MAX:
            raise malformed(f"it has over {ELEMENTS_MAX} elements")
        if len(self._open) >= DEPTH_MAX:
            raise malformed(f"it is over {DEPTH_MAX} elements deep")
        node = Node(_local(name), attributes={_local(key): value for key, value in attributes.items()})
        if self._open:
            self._open[-1][0].children.append(node)
        else:
            self.root = node
        self._open.append((node, []))

    def end(self, _name: str) -> None:
        node, pieces = self._open.pop()
        text = "".join(pieces)
        node.text = "" if node.children and not text.strip() else text

    def text(self, text: str) -> None:
        self._open[-1][1].append(text)

    def doctype(self, *_args: object) -> None:
        raise malformed("a DOCTYPE is not allowed")


def _local(name: str) -> str:
    return name.rpartition("}")[2]
