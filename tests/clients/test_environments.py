"""A client that is not there is told, with what gets it: no test of it is left out in silence."""

import pytest

from tests.clients.environments import MissingClient, debian, program


def test_a_program_that_is_missing_is_told_with_what_installs_it() -> None:
    with pytest.raises(MissingClient, match=r"there is no no-such-client; .* apt-get install no-such-client$"):
        program("no-such-client")
    with pytest.raises(MissingClient, match=r"there is no /no/such of Debian's package a-package; .* a-package$"):
        debian("a-package", "/no/such")
