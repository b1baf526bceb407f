"""MinIO's SDK for Python: a signer, an uploader and a reader of XML that are not Amazon's."""

import pytest

from tests.clients.environments import environment
from tests.clients.programs import Programs

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("https", [False, True], ids=["http", "https"])
def test_minios_sdk_does_everyday_work(programs: Programs, https: bool) -> None:
    programs.scenario(environment("minio"), "minio_sdk", programs.store.https if https else "")
