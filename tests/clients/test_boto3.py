"""boto3 of today and as old as in Debian 12: everyday calls, the transfer manager, and what only today's has."""

from pathlib import Path

import pytest

from tests.clients.environments import debian, environment
from tests.clients.programs import Programs

pytestmark = pytest.mark.clients


@pytest.mark.quick
@pytest.mark.parametrize("scenario", ["boto3_core", "boto3_transfers"])
def test_boto3_of_today_does_everyday_work(programs: Programs, scenario: str) -> None:
    programs.scenario(environment("aws"), scenario)


@pytest.mark.quick
def test_boto3_of_today_names_buckets_by_host(programs: Programs) -> None:
    programs.scenario(environment("aws"), "boto3_core", programs.store.virtual)


@pytest.mark.quick
@pytest.mark.parametrize("https", [False, True], ids=["http", "https"])
def test_boto3_of_today_checks_what_it_sends_and_writes_on_conditions(programs: Programs, https: bool) -> None:
    programs.scenario(environment("aws"), "boto3_current", programs.store.https if https else "")


@pytest.mark.parametrize("scenario", ["boto3_core", "boto3_transfers"])
def test_boto3_of_debian_does_everyday_work_without_checksums(programs: Programs, scenario: str) -> None:
    debian("python3-boto3", "/usr/lib/python3/dist-packages/boto3/__init__.py")
    programs.scenario(Path("/usr/bin/python3"), scenario)
