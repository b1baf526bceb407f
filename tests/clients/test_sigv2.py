"""Clients that sign by version 2, on a cluster whose configuration takes it: boto3, the AWS CLI's links, s3cmd."""

import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.config import S3Config
from tests.clients.environments import environment
from tests.clients.programs import Programs
from tests.clients.scenarios.steps import new_name
from tests.clients.store import Store, reconfigure, roles_with_https

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def old_store() -> Iterator[Store]:
    """A cluster with `s3.sigv2`."""
    with tempfile.TemporaryDirectory(prefix="trilith-test-") as folder:
        roles = roles_with_https(Path(folder, "c"))
        reconfigure(roles, s3=S3Config(sigv2=True))
        with roles:
            yield Store(roles)


@pytest.fixture
def programs(old_store: Store) -> Iterator[Programs]:
    """Clients' programs for that cluster."""
    with tempfile.TemporaryDirectory(prefix="trilith-client-") as folder:
        yield Programs(old_store, Path(folder))


def test_boto3_signs_by_version_2(programs: Programs) -> None:
    programs.scenario(environment("aws"), "boto3_sigv2")


def test_the_aws_clis_links_work_as_they_come(programs: Programs) -> None:
    aws = (environment("aws").with_name("aws"), "--endpoint-url", programs.store.access.endpoint, "s3")
    at = f"s3://{new_name('links')}/linked å"
    programs(*aws, "mb", at)
    programs(*aws, "cp", "-", at, given=b"linked")
    link = programs(*aws, "presign", at).strip()
    assert "AWSAccessKeyId=" in link
    with urllib.request.urlopen(link, timeout=60) as answer:
        assert answer.read() == b"linked"


def test_s3cmd_signs_requests_and_links_by_version_2(programs: Programs) -> None:
    access = programs.store.access
    host = access.endpoint.removeprefix("http://")
    (programs.home / ".s3cfg").write_text(
        f"[default]\naccess_key = {access.access_key}\nsecret_key = {access.secret_key}\nsignature_v2 = True\n"
        f"host_base = {host}\nhost_bucket = {host}\nuse_https = False\n"
    )
    s3cmd, bucket = (environment("s3cmd").with_name("s3cmd"), "--no-progress"), f"s3://{new_name('old')}"
    programs(*s3cmd, "mb", bucket)
    programs(*s3cmd, "put", "-", f"{bucket}/file å", given=b"content")
    assert "file å" in programs(*s3cmd, "ls", bucket)
    with urllib.request.urlopen(programs(*s3cmd, "signurl", f"{bucket}/file å", "+600").strip(), timeout=60) as answer:
        assert answer.read() == b"content"
