"""Upload forms, however their bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.s3.forms import (
    AFTER_FILE_BYTES_MAX,
    BEFORE_FILE_BYTES_MAX,
    FIELDS_MAX,
    HEAD_BYTES_MAX,
    Event,
    FieldRead,
    FileBegan,
    FileData,
    FileEnded,
    Form,
    FormEnded,
    boundary_of,
    is_form,
)
from cluster.errors import Refused

BOUNDARY = b"----WebKitFormBoundary7MA4YWxkTrZu0gW"


def part(name: str, value: bytes, *, filename: str | None = None) -> bytes:
    """One part with its delimiter before it."""
    named = "" if filename is None else f'; filename="{filename}"'
    return b'\r\n--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b' % (
        BOUNDARY,
        name.encode(),
        named.encode(),
        value,
    )


def form(*parts: bytes) -> bytes:
    """A whole body."""
    return b"".join(parts)[2:] + b"\r\n--" + BOUNDARY + b"--\r\n"


def read(raw: bytes, step: int | None = None) -> list[Event]:
    """Its events, read in pieces of `step` bytes, with neighbouring data joined."""
    machine = Form(BOUNDARY)
    events: list[Event] = []
    step = step or len(raw) + 1
    for start in range(0, len(raw), step):
        for event in machine.feed(raw[start : start + step]):
            match events, event:
                case [*_, FileData(before)], FileData(data):
                    events[-1] = FileData(before + data)
                case _:
                    events.append(event)
    machine.end()
    return events


def outcome(raw: bytes, step: int | None = None) -> list[Event] | str:
    """The events, or the code of the refusal."""
    try:
        return read(raw, step)
    except Refused as error:
        return error.code


def test_a_form_is_its_fields_and_its_file() -> None:
    raw = form(part("Key", "a/ü".encode()), part("empty", b""), part("file", b"bytes", filename="x.txt"))
    assert read(raw) == [
        FieldRead("key", "a/ü"),
        FieldRead("empty", ""),
        FileBegan("x.txt"),
        FileData(b"bytes"),
        FileEnded(),
        FormEnded(),
    ]


def test_an_empty_file_is_a_file() -> None:
    assert read(form(part("file", b""))) == [FileBegan(""), FileEnded(), FormEnded()]


def test_the_file_is_the_part_of_that_name_whatever_else_has_a_filename() -> None:
    raw = form(part("key", b"k", filename="key"), part("FILE", b"f"))
    assert read(raw) == [FieldRead("key", "k"), FileBegan(""), FileData(b"f"), FileEnded(), FormEnded()]


def test_what_follows_the_file_is_passed_over() -> None:
    raw = form(part("file", b"f"), part("key", b"late"), part("submit", b"\xff")) + b"anything"
    assert read(raw) == [FileBegan(""), FileData(b"f"), FileEnded(), FormEnded()]


def test_what_precedes_the_first_boundary_is_passed_over() -> None:
    assert read(b"preamble\r\n" + form(part("file", b"f")))[0] == FileBegan("")


def test_blanks_may_follow_a_boundary_and_other_headers_a_disposition() -> None:
    head = b"content-type: text/plain\r\nCONTENT-DISPOSITION:form-data;NAME=file ; filename=x;"
    raw = b"--%b \t\r\n%b\r\n\r\nf\r\n--%b--" % (BOUNDARY, head, BOUNDARY)
    assert read(raw)[:2] == [FileBegan("x"), FileData(b"f")]


@pytest.mark.parametrize(
    ("written", "filename"),
    [
        ("a b.txt", "a b.txt"),
        ("dir/sub/a.txt", "a.txt"),
        ("C:\\dir\\a.txt", "a.txt"),
        ('a \\"b\\".txt', 'a "b".txt'),
        ("a%22b.txt", "a%22b.txt"),
        ("a;b=c.txt", "a;b=c.txt"),
        ("é.txt", "é.txt"),
        ("dir/", ""),
    ],
)
def test_a_file_name_is_what_the_browser_wrote_without_its_folders(written: str, filename: str) -> None:
    assert read(form(part("file", b"", filename=written)))[0] == FileBegan(filename)


@pytest.mark.parametrize("near", [b"\r", b"\r\n", b"\r\n-", b"\r\n--", b"\r\n--" + BOUNDARY[:-1], b"\r\r\n--", b"--"])
def test_what_only_begins_like_a_boundary_is_data(near: bytes) -> None:
    for content in (near, near + near, b"x" + near + b"y", near + b"--" + BOUNDARY):
        if b"\r\n--" + BOUNDARY in content:
            continue
        raw = form(part("field", content), part("file", content))
        expected = [FieldRead("field", content.decode()), FileBegan(""), FileData(content), FileEnded(), FormEnded()]
        for step in (1, 2, 3, 7, None):
            assert read(raw, step) == expected


def test_a_piece_within_the_file_is_given_on_as_it_is() -> None:
    machine = Form(BOUNDARY)
    machine.feed(b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data; name=file\r\n\r\n")
    piece = bytes(100_000)
    [event] = machine.feed(piece)
    assert isinstance(event, FileData)
    assert event.data is piece


CONTENT = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"\r\n--", BOUNDARY[:5], BOUNDARY[:-1], b"x"]), max_size=12
).map(b"".join)
NAMES = st.sampled_from(["key", "Policy", "x-amz-meta-a", "success_action_status"])


@given(st.lists(st.tuples(NAMES, CONTENT), max_size=4), CONTENT, CONTENT, st.lists(st.integers(1, 80), max_size=30))
def test_the_events_are_the_same_however_the_body_is_cut(
    fields: list[tuple[str, bytes]], content: bytes, after: bytes, steps: list[int]
) -> None:
    raw = form(*(part(name, value) for name, value in fields), part("file", content), part("z", after)) + after
    expected: list[Event] = [FieldRead(name.lower(), value.decode()) for name, value in fields]
    expected += [FileBegan(""), *([FileData(content)] if content else []), FileEnded(), FormEnded()]
    machine, at, got = Form(BOUNDARY), 0, list[Event]()
    for step in [*steps, len(raw)]:
        got += machine.feed(raw[at : at + step])
        at += step
    machine.end()
    data = b"".join(event.data for event in got if isinstance(event, FileData))
    assert data == content
    assert [event for event in got if not isinstance(event, FileData)] == [
        event for event in expected if not isinstance(event, FileData)
    ]


PIECES = st.sampled_from(
    [
        b"\r\n--" + BOUNDARY,
        b"--" + BOUNDARY,
        b"--",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\xff",
        b"\0",
        b"x",
        b'Content-Disposition: form-data; name="file"',
        b'Content-Disposition: form-data; name="key"; filename="',
        b"A: b\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        part("file", b"f"),
        part("key", b"k"),
        b"y" * BEFORE_FILE_BYTES_MAX,
        b"z" * (HEAD_BYTES_MAX // 2),
    ]
)


@given(st.lists(PIECES, max_size=14).map(b"".join), st.integers(1, 5000))
def test_any_bytes_have_one_outcome_however_they_are_cut(raw: bytes, step: int) -> None:
    assert outcome(raw, step) == outcome(raw)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_machine(raw: bytes) -> None:
    for body in (raw, b"--" + BOUNDARY + raw, part("file", b"")[2:] + raw):
        found = outcome(body)
        assert isinstance(found, list) or found in {
            "MalformedPOSTRequest",
            "IncompleteBody",
            "IncorrectNumberOfFilesInPostRequest",
        }


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "MalformedPOSTRequest"),
        (b"a=b&c=d", "MalformedPOSTRequest"),
        (b"--other\r\n\r\n", "MalformedPOSTRequest"),
        (form(part("file", b"f"))[:-4], "IncompleteBody"),
        (form(part("file", b"f"))[:-3], "IncompleteBody"),
        (form(part("key", b"k"))[:-6], "IncompleteBody"),
        (form(part("key", b"k")), "IncorrectNumberOfFilesInPostRequest"),
        (b"--" + BOUNDARY + b"--", "IncorrectNumberOfFilesInPostRequest"),
        (form(part("file", b"f"), part("File", b"g")), "IncorrectNumberOfFilesInPostRequest"),
        (form(part("file", b"f\r\n--" + BOUNDARY + b"more")), "MalformedPOSTRequest"),
        (form(part("key", b"\xff")), "MalformedPOSTRequest"),
        (form(part("", b"")), "MalformedPOSTRequest"),
        (form(b"\r\n--" + BOUNDARY + b"\r\n\r\nvalue"), "MalformedPOSTRequest"),
        (form(b"\r\n--" + BOUNDARY + b"\r\nContent-Type: text/plain\r\n\r\nvalue"), "MalformedPOSTRequest"),
    ],
)
def test_what_is_no_whole_form_with_one_file_is_refused(raw: bytes, code: str) -> None:
    assert outcome(raw) == code
    assert outcome(raw, 1) == code


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: attachment; name="a"',
        b'Content-Disposition: form-data; name="a',
        b'Content-Disposition: form-data; name="a"; name="b"',
        b'Content-Disposition: form-data; name="a" "b"',
        b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"',
        b'Content-Disposition: form-data; name="\xff"',
        b'Content-Disposition: form-data; name="a\0"',
        b'Content-Disposition: form-data;\r\n name="a"',
        b'Content-Disposition : form-data; name="a"',
        b'Content-Disposition: form-data; name="a"\r\nno colon',
        b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64',
    ],
)
def test_a_head_that_can_be_misread_is_refused(head: bytes) -> None:
    assert outcome(form(b"\r\n--%b\r\n%b\r\n\r\nvalue" % (BOUNDARY, head))) == "MalformedPOSTRequest"


def test_all_before_the_file_has_20_kib() -> None:
    most = BEFORE_FILE_BYTES_MAX - len(part("a", b"") + part("file", b""))
    for step in (1, 1000, None):
        assert FileBegan("") in read(form(part("a", b"v" * most), part("file", b"")), step)
        too_much = form(part("a", b"v" * (most + 1)), part("file", b""))
        assert outcome(too_much, step) == "MaxPostPreDataLengthExceededError"


def test_a_head_has_8_kib() -> None:
    for name, code in (
        ("n" * (HEAD_BYTES_MAX - 100), "IncompleteBody"),
        ("n" * HEAD_BYTES_MAX, "MalformedPOSTRequest"),
    ):
        assert outcome(part(name, b"")[2:]) == outcome(part(name, b"")[2:], 100) == code


def test_there_are_100_fields() -> None:
    fields = [part("a", b"v")] * FIELDS_MAX
    assert len(read(form(*fields, part("file", b"")))) == FIELDS_MAX + 3
    assert outcome(form(*fields, part("a", b"v"), part("file", b""))) == "MalformedPOSTRequest"


def test_what_follows_the_file_is_bounded() -> None:
    junk = b"j" * AFTER_FILE_BYTES_MAX
    assert outcome(form(part("file", b""), part("z", junk)), 65536) == "MaxMessageLengthExceeded"
    assert outcome(form(part("file", b"")) + junk, 65536) == "MaxMessageLengthExceeded"


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;charset=utf-8; BOUNDARY="a b(c)"', b"a b(c)"),
        ("multipart/form-data; boundary=" + "x" * 70, b"x" * 70),
        ("multipart/form-data; boundary=----a=_b", b"----a=_b"),
    ],
)
def test_a_boundary_is_quoted_or_not(content_type: str, boundary: bytes) -> None:
    assert is_form(content_type)
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 71,
        'multipart/form-data; boundary="abc "',
        'multipart/form-data; boundary="a\r\nb"',
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=a; boundary=b",
        'multipart/form-data; boundary="a',
    ],
)
def test_a_boundary_that_cannot_be_is_refused(content_type: str) -> None:
    with pytest.raises(Refused) as caught:
        boundary_of(content_type)
    assert caught.value.code == "MalformedPOSTRequest"


def test_other_types_are_no_form() -> None:
    assert not is_form("multipart/form-data-x; boundary=a")
    assert not is_form("application/x-www-form-urlencoded")
