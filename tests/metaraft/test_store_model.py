"""The store against the plain models of objects, versions and uploads, in any order of commands and deaths."""

from hypothesis import settings

from tests.metaraft import test_machine_model, test_machine_versions_model, test_reads_model
from tests.metaraft.stored_metadata import Dying


class Objects(Dying, test_machine_model.World):
    """Objects, references, disks and stewards."""


class Versions(Dying, test_machine_versions_model.World):
    """Versions, uploads and their parts."""


class Reads(Dying, test_reads_model.World):
    """Queries."""


Objects.TestCase.settings = settings(max_examples=25, stateful_step_count=50)
TestObjects = Objects.TestCase
Versions.TestCase.settings = settings(max_examples=25, stateful_step_count=50)
TestVersions = Versions.TestCase
Reads.TestCase.settings = settings(max_examples=25, stateful_step_count=40)
TestReads = Reads.TestCase
