"""Which versions of the protocol are spoken here: the newest, N, and the one before it.

A run has one version, which its manifest names. Every message of the run is of that version, and an
answer is of the version of what it answers. Nothing is negotiated: who speaks neither refuses the
manifest.
"""

from fedward_common.errors import MalformedMessageError
from fedward_common.wire.messages import PROTOCOL_VERSION

_UPGRADE_HERE = "upgrade this side, or let a run of a version begin that is spoken here"
_UPGRADE_THERE = "upgrade the side that it came from, and let a run of its newest version begin"


def newest_version() -> int:
    """Give N, the version that a new run is of unless it is told otherwise."""
    return PROTOCOL_VERSION


def spoken_versions(newest: int) -> tuple[int, ...]:
    """Give the versions that a release understands whose newest is `newest`, 1 or more."""
    return tuple(version for version in (newest - 1, newest) if version >= 1)


def require_spoken(version: int) -> None:
    """Check the version of a message or a manifest.

    The code says who is behind, so that whoever hears nothing else knows which side to upgrade.

    Raises:
        MalformedMessageError: It is not spoken here: `PROTOCOL_TOO_NEW` or `PROTOCOL_TOO_OLD`.
    """
    spoken = spoken_versions(newest_version())
    if version in spoken:
        return
    is_newer = version > newest_version()
    raise MalformedMessageError(
        f"protocol {version} came, {' and '.join(map(str, spoken))} is spoken here",
        hint=_UPGRADE_HERE if is_newer else _UPGRADE_THERE,
        code="PROTOCOL_TOO_NEW" if is_newer else "PROTOCOL_TOO_OLD",
    )


def require_version_of_run(version: int, of_run: int) -> None:
    """Check that a message is of the version of its run.

    Raises:
        MalformedMessageError: `PROTOCOL_VERSION`; it is of another.
    """
    if version != of_run:
        raise MalformedMessageError(
            f"protocol {version} came, the run's manifest says {of_run}",
            hint="bring both sides to the same release",
            code="PROTOCOL_VERSION",
        )
