import os

import pytest

from fedward_common.crypto.entropy import draw
from fedward_common.errors import ConfigurationError


def test_as_many_bytes_are_drawn_as_were_asked_for() -> None:
    assert draw(lambda count: b"\x05" * count, 3) == b"\x05\x05\x05"
    assert len(draw(os.urandom, 32)) == 32


@pytest.mark.parametrize("given", [0, 31, 33])
def test_a_source_that_gives_another_number_of_bytes_is_not_used(given: int) -> None:
    with pytest.raises(ConfigurationError, match=f"gave {given} bytes, 32 are needed"):
        draw(lambda _: bytes(given), 32)
