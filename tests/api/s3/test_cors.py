"""CORS: rules as documents, which of them a request meets, and what a browser is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.decisions import ANONYMOUS
from api.s3 import xml
from api.s3.cors import (
    CONFIGURATION_BYTES_MAX,
    REQUESTED_HEADERS_MAX,
    RULES_MAX,
    Asking,
    CorsRule,
    allowed,
    configuration,
    matches,
    parse_configuration,
    requested_headers,
)
from cluster.errors import Refused
from tests.api.s3.speaking import ALICE, ROOT, Speaking

RULES = (
    CorsRule(("GET",), ("*suffix",)),
    CorsRule(("GET",), ("start*end",)),
    CorsRule(("GET",), ("prefix*",)),
    CorsRule(("PUT",), ("*.put",)),
)
"""Those that ceph's s3-tests try."""


def parsed(document: str | bytes) -> tuple[CorsRule, ...]:
    raw = document.encode() if isinstance(document, str) else document
    return parse_configuration(xml.parse(raw, "CORSConfiguration"))


def rule(inner: str) -> str:
    return f"<CORSConfiguration><CORSRule>{inner}</CORSRule></CORSConfiguration>"


GET = "<AllowedMethod>GET</AllowedMethod>"
ANY = "<AllowedOrigin>*</AllowedOrigin>"
PUBLIC = rule(GET + ANY)


def rules(count: int) -> str:
    return f"<CORSConfiguration>{f'<CORSRule>{GET}{ANY}</CORSRule>' * count}</CORSConfiguration>"


# ---- documents


def test_a_configuration_is_read_with_all_that_it_says() -> None:
    found = parsed(
        rule(
            "<ID>one</ID><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>"
            "<AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedHeader>x-amz-*</AllowedHeader>"
            "<ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>3000</MaxAgeSeconds>"
        )
    )
    assert found == (CorsRule(("GET", "PUT"), ("https://*.example.com",), ("x-amz-*",), ("ETag",), 3000, "one"),)


TOKEN = st.text(st.sampled_from("abcXYZ019-_."), min_size=1, max_size=20)
ORIGIN = st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="*"), min_size=1)
WRITTEN = st.builds(
    CorsRule,
    methods=st.lists(st.sampled_from(("GET", "PUT", "POST", "DELETE", "HEAD")), min_size=1, max_size=5).map(tuple),
    origins=st.lists(ORIGIN, min_size=1, max_size=3).map(tuple),
    headers=st.lists(TOKEN, max_size=3).map(tuple),
    exposed=st.lists(TOKEN, max_size=3).map(tuple),
    max_age_s=st.none() | st.integers(0, 999_999_999),
    id=st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20),
)


@given(st.lists(WRITTEN, min_size=1, max_size=4))
def test_a_configuration_that_was_written_is_read_as_it_was(written: list[CorsRule]) -> None:
    assert parsed(configuration(tuple(written))) == tuple(written)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("<CORSConfiguration/>", "MalformedXML"),
        ("<CORSConfiguration><Rule/></CORSConfiguration>", "MalformedXML"),
        (rule(""), "MalformedXML"),
        (rule(GET), "MalformedXML"),
        (rule(ANY), "MalformedXML"),
        (rule(GET + ANY + "<Other/>"), "MalformedXML"),
        (rule(GET + ANY + "<MaxAgeSeconds>soon</MaxAgeSeconds>"), "MalformedXML"),
        (rule(GET + ANY + "<MaxAgeSeconds>-1</MaxAgeSeconds>"), "MalformedXML"),
        (rule(GET + ANY + "<MaxAgeSeconds>1</MaxAgeSeconds><MaxAgeSeconds>1</MaxAgeSeconds>"), "MalformedXML"),
        (rule(GET + ANY + f"<ID>{'x' * 256}</ID>"), "MalformedXML"),
        (rule("<AllowedMethod>OPTIONS</AllowedMethod>" + ANY), "InvalidRequest"),
        (rule("<AllowedMethod>get</AllowedMethod>" + ANY), "InvalidRequest"),
        (rule("<AllowedMethod/>" + ANY), "InvalidRequest"),
        (rule(GET + "<AllowedOrigin/>"), "InvalidRequest"),
        (rule(GET + "<AllowedOrigin>http*://*.example.com</AllowedOrigin>"), "InvalidRequest"),
        (rule(GET + ANY + "<AllowedHeader>x-*-*</AllowedHeader>"), "InvalidRequest"),
        (rule(GET + ANY + "<AllowedHeader>a b</AllowedHeader>"), "InvalidRequest"),
        (rule(GET + ANY + "<ExposeHeader>*</ExposeHeader>"), "InvalidRequest"),
        (rule(GET + ANY + "<ExposeHeader>a&#13;&#10;set-cookie: b</ExposeHeader>"), "InvalidRequest"),
        (rule(GET + ANY + "<ExposeHeader/>"), "InvalidRequest"),
        (rules(RULES_MAX + 1), "MalformedXML"),
    ],
)
def test_what_breaks_a_rule_of_configurations_is_refused(document: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        parsed(document)
    assert caught.value.code == code


def test_a_hundred_rules_are_possible() -> None:
    assert len(parsed(rules(RULES_MAX))) == RULES_MAX


# ---- decisions


@pytest.mark.parametrize(
    ("origin", "method", "methods"),
    [
        ("foo.suffix", "GET", "GET"),
        ("foo.bar", "GET", None),
        ("foo.suffix.get", "GET", None),
        ("startend", "GET", "GET"),
        ("start1end", "GET", "GET"),
        ("start12end", "GET", "GET"),
        ("0start12end", "GET", None),
        ("prefix", "GET", "GET"),
        ("prefix.suffix", "GET", "GET"),
        ("bla.prefix", "GET", None),
        ("foo.put", "GET", None),
        ("foo.put", "PUT", "PUT"),
        ("foo.suffix", "PUT", None),
        ("foo.suffix", "DELETE", None),
        ("FOO.SUFFIX", "GET", None),
        ("staend", "GET", None),
    ],
)
def test_the_first_rule_with_origin_and_method_counts(origin: str, method: str, methods: str | None) -> None:
    found = allowed(RULES, Asking(origin, method))
    if methods is None:
        assert found is None
    else:
        assert found is not None
        assert dict(found)["access-control-allow-origin"] == origin
        assert dict(found)["access-control-allow-methods"] == methods


def test_all_headers_that_are_announced_must_be_of_the_rule() -> None:
    some = [CorsRule(("PUT",), ("*",), ("Content-Type", "x-amz-*"))]
    assert allowed(some, Asking("o", "PUT", ("content-type", "x-amz-date"))) is not None
    assert allowed(some, Asking("o", "PUT", ("content-type", "authorization"))) is None
    assert allowed([CorsRule(("PUT",), ("*",))], Asking("o", "PUT", ("content-type",))) is None
    assert allowed([CorsRule(("PUT",), ("*",), ("*",))], Asking("o", "PUT", ("a", "b"))) is not None
    later = [CorsRule(("PUT",), ("*",)), CorsRule(("PUT", "GET"), ("*",), ("*",))]
    found = allowed(later, Asking("o", "PUT", ("a",)))
    assert found is not None
    assert dict(found)["access-control-allow-methods"] == "PUT, GET"


def test_an_origin_that_a_rule_names_may_send_credentials_and_everybody_may_not() -> None:
    named = allowed([CorsRule(("GET",), ("https://a.example",))], Asking("https://a.example", "GET"))
    anybody = allowed([CorsRule(("GET",), ("*",))], Asking("https://a.example", "GET"))
    assert named is not None
    assert anybody is not None
    assert dict(named)["access-control-allow-credentials"] == "true"
    assert "access-control-allow-credentials" not in dict(anybody)
    assert dict(anybody)["access-control-allow-origin"] == "*"


def test_what_a_browser_may_see_and_keep_is_told() -> None:
    told = [CorsRule(("GET",), ("*",), ("*",), ("ETag", "x-amz-request-id"), 600)]
    found = allowed(told, Asking("o", "GET", ("range", "x-a")))
    assert found == (
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET"),
        ("access-control-allow-headers", "range, x-a"),
        ("access-control-expose-headers", "ETag, x-amz-request-id"),
        ("access-control-max-age", "600"),
        ("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"),
    )


@given(st.text("ab*", max_size=6).filter(lambda pattern: pattern.count("*") <= 1), st.text("ab", max_size=6))
def test_a_star_stands_for_any_characters(pattern: str, text: str) -> None:
    before, star, behind = pattern.partition("*")
    expanded = {before + middle + behind for middle in _texts()} if star else {pattern}
    assert matches(pattern, text) == (text in expanded)


def _texts() -> list[str]:
    found = [""]
    for text in found:
        if len(text) < 6:
            found += [text + "a", text + "b"]
    return found


def test_requested_headers_are_names_each_once() -> None:
    assert requested_headers(None) == ()
    assert requested_headers(" Content-Type,x-amz-date ,, CONTENT-TYPE") == ("content-type", "x-amz-date")


def test_more_headers_than_a_request_has_are_not_allowed() -> None:
    names = tuple(f"h{number}" for number in range(REQUESTED_HEADERS_MAX + 1))
    all_headers = [CorsRule(("GET",), ("*",), ("*",))]
    assert allowed(all_headers, Asking("o", "GET", names[:-1])) is not None
    assert allowed(all_headers, Asking("o", "GET", names)) is None


@pytest.mark.parametrize("name", ["a b", "ä", "a\x7f", "a:b"])
def test_what_no_header_is_called_is_not_repeated(name: str) -> None:
    assert allowed([CorsRule(("GET",), ("*",), ("*",))], Asking("o", "GET", (name,))) is None


# ---- calls


async def test_a_configuration_is_set_told_and_removed() -> None:
    s3 = Speaking()
    s3.bucket()
    assert (await s3.call("GET", "/bucket?cors")).code == "NoSuchCORSConfiguration"
    assert (await s3.call("PUT", "/bucket?cors", PUBLIC)).status == 200
    assert PUBLIC.removeprefix("<CORSConfiguration>").encode() in (await s3.call("GET", "/bucket?cors")).body
    assert (await s3.call("PUT", "/bucket?cors", "<CORSConfiguration/>")).code == "MalformedXML"
    assert (await s3.call("PUT", "/bucket?cors", rule(GET + "<AllowedOrigin/>"))).code == "InvalidRequest"
    assert (await s3.call("GET", "/bucket?cors")).status == 200
    assert (await s3.call("DELETE", "/bucket?cors")).status == 204
    assert (await s3.call("GET", "/bucket?cors")).code == "NoSuchCORSConfiguration"
    assert (await s3.call("DELETE", "/bucket?cors")).status == 204


async def test_a_configuration_over_64_kib_is_refused() -> None:
    s3 = Speaking()
    s3.bucket()
    origin = "a" * CONFIGURATION_BYTES_MAX
    refused = await s3.call("PUT", "/bucket?cors", rule(f"{GET}<AllowedOrigin>{origin}</AllowedOrigin>"))
    assert refused.code == "MaxMessageLengthExceeded"


async def test_the_largest_configuration_is_kept() -> None:
    s3 = Speaking()
    s3.bucket()
    origin = "a" * (CONFIGURATION_BYTES_MAX - len(rule(f"{GET}<AllowedOrigin></AllowedOrigin>")))
    assert (await s3.call("PUT", "/bucket?cors", rule(f"{GET}<AllowedOrigin>{origin}</AllowedOrigin>"))).status == 200


async def test_a_preflight_is_answered_without_a_key() -> None:
    s3 = Speaking()
    s3.bucket(owner=ALICE)
    await s3.call("PUT", "/bucket?cors", PUBLIC, by=ALICE)
    asked = {"origin": "https://a.example", "access_control_request_method": "GET"}
    for path in ("/bucket", "/bucket/key"):
        found = await s3.call("OPTIONS", path, by=ANONYMOUS, **asked)
        assert (found.status, found.body) == (200, b"")
        assert found.headers["access-control-allow-origin"] == "*"
        assert "x-amz-request-id" in found.headers


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Insufficient information. Origin request header needed."),
        ({"origin": ""}, "Insufficient information. Origin request header needed."),
        ({"origin": "o"}, "Invalid Access-Control-Request-Method: null"),
        ({"origin": "o", "access_control_request_method": "TRACE"}, "Invalid Access-Control-Request-Method: TRACE"),
    ],
)
async def test_a_preflight_that_asks_for_nothing_is_a_bad_request(headers: dict[str, str], message: str) -> None:
    s3 = Speaking()
    s3.bucket()
    await s3.call("PUT", "/bucket?cors", PUBLIC)
    found = await s3.call("OPTIONS", "/bucket/key", by=ANONYMOUS, **headers)
    assert (found.status, found.code) == (400, "BadRequest")
    assert found.tree.value("Message") == message


async def test_a_preflight_that_no_rule_allows_is_forbidden() -> None:
    s3 = Speaking()
    s3.bucket()
    await s3.call("PUT", "/bucket?cors", PUBLIC)
    found = await s3.call("OPTIONS", "/bucket/key", origin="o", access_control_request_method="PUT")
    assert (found.status, found.code) == (403, "AccessForbidden")
    assert not [name for name in found.headers if name.startswith("access-control")]


async def test_a_preflight_does_not_tell_which_buckets_there_are() -> None:
    s3 = Speaking()
    s3.bucket("closed")
    answers = [
        await s3.call("OPTIONS", path, by=ANONYMOUS, origin="o", access_control_request_method="GET")
        for path in ("/closed", "/absent", "/NO", "/")
    ]
    assert {answer.status for answer in answers} == {403}
    assert len({answer.tree.value("Message") for answer in answers}) == 1


async def test_answers_and_errors_carry_what_the_rules_allow() -> None:
    s3 = Speaking()
    s3.bucket()
    await s3.call("PUT", "/bucket?cors", rule(GET + "<AllowedOrigin>https://a.example</AllowedOrigin>"))
    for target, by, status in (
        ("/bucket", ROOT, 200),
        ("/bucket?tagging", ROOT, 404),
        ("/bucket", ANONYMOUS, 403),
    ):
        found = await s3.call("GET", target, origin="https://a.example", by=by)
        assert found.status == status
        assert found.headers["access-control-allow-origin"] == "https://a.example"
        assert "Origin" in found.headers["vary"]
    other = await s3.call("GET", "/bucket", origin="https://b.example")
    assert not [name for name in other.headers if name.startswith("access-control")]
    assert "Origin" in other.headers["vary"]
    assert "vary" not in (await s3.call("GET", "/bucket")).headers


async def test_without_rules_no_origin_is_allowed() -> None:
    s3 = Speaking()
    s3.bucket()
    for target in ("/bucket", "/absent", "/"):
        found = await s3.call("GET", target, origin="https://a.example")
        assert not [name for name in found.headers if name.startswith("access-control") or name == "vary"]
