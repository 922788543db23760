"""Who wants to see a run go on: a progress bar, a test, nobody."""

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from typing import Any, Protocol


class RunObserver(Protocol):
    """Told after things are durable; an observer cannot change a run."""

    def accepted(self, sites: Mapping[str, Any], failures: list[dict[str, Any]]) -> None:
        """The participants are known."""
        ...

    def round_begins(self, number: int, attempt: int) -> None:
        """A round is about to be sent out."""
        ...

    def round_committed(
        self, number: int, participants: list[str], failures: list[dict[str, Any]]
    ) -> None:
        """New global weights are on disk."""
        ...

    def evaluated(self, round_number: int, figures: Mapping[str, Any], *, best: bool) -> None:
        """Pooled validation figures of a round's weights."""
        ...

    def note(self, text: str) -> None:
        """Something a person should know."""
        ...


class SilentObserver:
    """Ignores everything."""

    def accepted(self, sites: Mapping[str, Any], failures: list[dict[str, Any]]) -> None:
        """Ignore."""

    def round_begins(self, number: int, attempt: int) -> None:
        """Ignore."""

    def round_committed(
        self, number: int, participants: list[str], failures: list[dict[str, Any]]
    ) -> None:
        """Ignore."""

    def evaluated(self, round_number: int, figures: Mapping[str, Any], *, best: bool) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""


def clipped_text(number: int, values_clipped: int, value_range: float) -> str:
    """Say that updates of a run's rounds so far did not fit the codec."""
    return (
        f"by round {number} {values_clipped} values of updates were clipped to "
        f"secure_aggregation.value_range = {value_range:g}; if they are many, raise it"
    )


_current: contextvars.ContextVar[RunObserver | None] = contextvars.ContextVar(
    "fedward_observer", default=None
)


def current_observer() -> RunObserver:
    """Give the observer of this thread's run; Flower's app call has no argument for one."""
    return _current.get() or SilentObserver()


@contextlib.contextmanager
def observed_by(observer: RunObserver) -> Iterator[None]:
    """Let `observer` see the runs started inside the block."""
    token = _current.set(observer)
    try:
        yield
    finally:
        _current.reset(token)
