"""Listings of versions and of uploads through the whole dialect but its signatures."""

from urllib.parse import quote, unquote

from hypothesis import given, settings
from hypothesis import strategies as st

from api.operations.versions import parse_version
from metaraft.commands import (
    CreateUpload,
    DeleteObject,
    SetVersioning,
)
from metaraft.results import (
    ObjectDone,
    UploadDone,
)
from tests.api.s3.filled import (
    DELIMITER,
    GONE,
    KEY,
    LIMIT,
    PREFIX,
    delete,
    expected,
    filled,
    prefixes,
    query,
    truncated,
)
from tests.api.s3.speaking import ALICE, ROOT, Speaking
from tests.metaraft.metadata import etag, put


@settings(max_examples=40)
@given(st.lists(KEY, max_size=12), GONE, PREFIX, DELIMITER, LIMIT)
async def test_versions_together_are_all_there_are(
    puts: list[str], gone: set[str], prefix: str, delimiter: str, limit: int
) -> None:
    s3 = filled(*puts, versioned=True)
    delete(s3, gone)
    found: list[tuple[str, str]] = []
    groups: list[str] = []
    begin = ""
    while True:
        asked = query(prefix=prefix, delimiter=delimiter, max_keys=limit)
        page = await s3.call("GET", f"/bucket?versions&{asked}&encoding-type=url{begin}")
        shown = [node for node in page.tree.children if node.name in ("Version", "DeleteMarker")]
        found += [(unquote(node.value("Key") or ""), node.value("VersionId") or "") for node in shown]
        groups += [unquote(text) for text in prefixes(page)]
        if not truncated(page):
            break
        begin = f"&key-marker={quote(unquote(page.tree.value('NextKeyMarker') or ''), safe='')}"
        begin += f"&version-id-marker={page.tree.value('NextVersionIdMarker') or ''}"
    entries = expected([*puts, *gone], prefix, delimiter)
    assert sorted({key for key, _ in found} | set(groups), key=str.encode) == entries
    alone = [key for key in [*puts, *gone] if key in entries and key not in groups]
    assert len(found) == len(alone)
    order = [(key.encode(), -(parse_version(version).revision or 0)) for key, version in found]
    assert order == sorted(set(order))


# ---- versions


async def test_versions_and_delete_markers_are_shown_newest_first() -> None:
    s3 = filled("a")
    s3.do(SetVersioning("bucket", "enabled"))
    second = s3.do(put("a", b"more data", bucket="bucket", owner=ROOT.name))
    marker = s3.do(DeleteObject("bucket", "a", owner=ROOT.name))
    assert isinstance(second, ObjectDone)
    assert isinstance(marker, ObjectDone)
    page = await s3.call("GET", "/bucket?versions")
    owner = f"<Owner><ID>{ROOT.name}</ID><DisplayName>root</DisplayName></Owner>"
    at = "<LastModified>2023-11-14T22:13:20.000Z</LastModified>"
    assert page.body.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix></Prefix>'
        "<KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker><MaxKeys>1000</MaxKeys>"
        "<IsTruncated>false</IsTruncated>"
        f"<DeleteMarker><Key>a</Key><VersionId>{marker.revision:016x}</VersionId><IsLatest>true</IsLatest>{at}{owner}"
        "</DeleteMarker>"
        f"<Version><Key>a</Key><VersionId>{second.revision:016x}</VersionId><IsLatest>false</IsLatest>{at}"
        f"<ETag>&quot;{etag(b'more data')}&quot;</ETag><Size>9</Size>{owner}<StorageClass>STANDARD</StorageClass>"
        "</Version>"
        f"<Version><Key>a</Key><VersionId>null</VersionId><IsLatest>false</IsLatest>{at}"
        f"<ETag>&quot;{etag(b'data')}&quot;</ETag><Size>4</Size>{owner}<StorageClass>STANDARD</StorageClass>"
        "</Version></ListVersionsResult>"
    )


async def test_versions_go_on_behind_one_of_a_key() -> None:
    s3 = filled("a", "a", "b", versioned=True)
    first = await s3.call("GET", "/bucket?versions&max-keys=1")
    assert truncated(first)
    key, version = first.tree.value("NextKeyMarker"), first.tree.value("NextVersionIdMarker")
    assert (key, version) == ("a", first.texts("Version", "VersionId")[0])
    second = await s3.call("GET", f"/bucket?versions&max-keys=1&key-marker={key}&version-id-marker={version}")
    assert (second.texts("Version"), second.texts("Version", "IsLatest")) == (["a"], ["false"])
    assert second.tree.value("VersionIdMarker") == version
    behind = await s3.call("GET", "/bucket?versions&key-marker=a")
    assert behind.texts("Version") == ["b"]


async def test_a_null_version_is_a_marker_too() -> None:
    s3 = filled("a", "b")
    s3.do(SetVersioning("bucket", "enabled"))
    s3.do(put("a", bucket="bucket"))
    page = await s3.call("GET", "/bucket?versions&key-marker=a&version-id-marker=null")
    assert page.texts("Version") == ["b"]


# ---- uploads


def upload(s3: Speaking, key: str, **more: object) -> str:
    done = s3.do(CreateUpload("bucket", key, b"12345678", "text/plain", owner=ALICE.name, **more))  # type: ignore[arg-type]
    assert isinstance(done, UploadDone)
    return done.upload.upload_id.hex()


async def test_uploads_are_as_s3_writes_them() -> None:
    s3 = Speaking()
    s3.bucket(owner=ALICE)
    first, second = upload(s3, "a", checksum=("CRC32", "COMPOSITE")), upload(s3, "a")
    upload(s3, "b/c")
    page = await s3.call("GET", "/bucket?uploads&delimiter=/", by=ALICE)
    who = f"<ID>{ALICE.name}</ID><DisplayName>Alice</DisplayName>"
    rest = (
        f"<Initiator>{who}</Initiator><Owner>{who}</Owner><StorageClass>STANDARD</StorageClass>"
        "<Initiated>2023-11-14T22:13:20.000Z</Initiated>"
    )
    assert page.body.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>bucket</Bucket>'
        "<KeyMarker></KeyMarker><UploadIdMarker></UploadIdMarker><Prefix></Prefix><MaxUploads>1000</MaxUploads>"
        "<Delimiter>/</Delimiter><IsTruncated>false</IsTruncated>"
        f"<Upload><Key>a</Key><UploadId>{first}</UploadId>{rest}"
        "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType></Upload>"
        f"<Upload><Key>a</Key><UploadId>{second}</UploadId>{rest}</Upload>"
        "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes></ListMultipartUploadsResult>"
    )


async def test_uploads_go_on_behind_one_of_a_key() -> None:
    s3 = Speaking()
    s3.bucket()
    ids = [upload(s3, key) for key in ("a", "a", "b/1", "b/2", "c")]
    found: list[tuple[str, str]] = []
    groups: list[str] = []
    begin = ""
    while True:
        page = await s3.call("GET", f"/bucket?uploads&delimiter=/&max-uploads=1{begin}")
        found += zip(page.texts("Upload"), page.texts("Upload", "UploadId"), strict=True)
        groups += prefixes(page)
        if not truncated(page):
            break
        begin = f"&key-marker={page.tree.value('NextKeyMarker')}"
        begin += f"&upload-id-marker={page.tree.value('NextUploadIdMarker')}"
    assert found == [("a", ids[0]), ("a", ids[1]), ("c", ids[4])]
    assert groups == ["b/"]
    behind = await s3.call("GET", "/bucket?uploads&key-marker=a")
    assert behind.texts("Upload") == ["b/1", "b/2", "c"]


async def test_an_upload_marker_without_a_key_is_passed_over() -> None:
    s3 = Speaking()
    s3.bucket()
    upload(s3, "a")
    page = await s3.call("GET", "/bucket?uploads&upload-id-marker=nonsense")
    assert (page.texts("Upload"), page.tree.value("UploadIdMarker")) == (["a"], "")


async def test_no_upload_may_be_asked_for() -> None:
    page = await filled().call("GET", "/bucket?uploads&max-uploads=0")
    assert (page.tree.value("MaxUploads"), truncated(page)) == ("0", False)
