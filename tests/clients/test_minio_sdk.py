"""MinIO's SDK for Python: a signer, an uploader and a reader of XML that are not Amazon's."""

import pytest

from tests.clients.environments import environment
from tests.clients.programs import Programs

pytestmark = pytest.mark.clients


def test_minios_sdk_does_everyday_work(programs: Programs) -> None:
    programs.scenario(environment("minio"), "minio_sdk")
