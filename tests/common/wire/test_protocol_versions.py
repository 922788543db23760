"""The newest version is spoken and the one before it, and no other (F23)."""

import pytest

from fedward_common.errors import MalformedMessageError
from fedward_common.wire import protocol_versions
from fedward_common.wire.protocol_versions import (
    require_spoken,
    require_version_of_run,
    spoken_versions,
)


@pytest.mark.parametrize(
    ("newest", "spoken"), [(1, (1,)), (2, (1, 2)), (3, (2, 3)), (2**62, (2**62 - 1, 2**62))]
)
def test_a_release_speaks_its_newest_version_and_the_one_before(
    newest: int, spoken: tuple[int, ...]
) -> None:
    assert spoken_versions(newest) == spoken


@pytest.mark.parametrize(
    ("version", "code", "upgraded"),
    [(v, "PROTOCOL_TOO_OLD", "the side that it came from") for v in (-(2**62), -1, 0, 1)]
    + [(v, "PROTOCOL_TOO_NEW", "this side") for v in (4, 5, 2**62)],
)
def test_whoever_speaks_neither_is_refused_by_a_code_that_says_who_is_behind(
    monkeypatch: pytest.MonkeyPatch, version: int, code: str, upgraded: str
) -> None:
    monkeypatch.setattr(protocol_versions, "PROTOCOL_VERSION", 3)
    for spoken in (2, 3):
        require_spoken(spoken)
    with pytest.raises(MalformedMessageError, match=f"{version} came, 2 and 3 is spoken") as caught:
        require_spoken(version)
    assert caught.value.code == code
    assert caught.value.hint.startswith(f"upgrade {upgraded}")


def test_no_version_0_goes_before_the_first() -> None:
    require_spoken(1)
    with pytest.raises(MalformedMessageError, match="protocol 0 came, 1 is spoken here"):
        require_spoken(0)


def test_a_message_is_of_the_version_of_its_run() -> None:
    require_version_of_run(1, 1)
    with pytest.raises(MalformedMessageError, match="the run's manifest says 1") as caught:
        require_version_of_run(2, 1)
    assert caught.value.code == "PROTOCOL_VERSION"
