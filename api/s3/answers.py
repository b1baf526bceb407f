"""Answers as responses: a document, or nothing."""

from api.messages import Response

_XML = ("content-type", "application/xml")


def answer(document: bytes, *headers: tuple[str, str]) -> Response:
    """200 with an XML document."""
    return Response(200, (_XML, *headers), document, length=len(document))


def done(*headers: tuple[str, str]) -> Response:
    """200 with nothing in it."""
    return Response(200, headers, length=0)


def gone(*headers: tuple[str, str]) -> Response:
    """204: it is not there any more."""
    return Response(204, headers)
