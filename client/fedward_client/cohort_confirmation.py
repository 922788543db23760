"""What a person must say yes to: on the terminal, or with `--yes`, or it is not done."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedward_client.cohorts.registered.snapshot_change import SnapshotChange
from fedward_common.errors import CohortError, StoppedError

Ask = Callable[[str], bool]


class UnconfirmedError(CohortError):
    """Something that cannot be undone, or harms for long, was not meant by anybody yet."""

    def __init__(self, subject: str, reasons: Sequence[str], hint: str) -> None:
        super().__init__(f"{subject}: {'; '.join(reasons)}", hint=hint)
        self.reasons = tuple(reasons)


@dataclass
class Confirmation:
    """What was said yes to so far.

    Args:
        ask: Puts a question to a person; None where nobody is there.
        yes: Whether `--yes` was given.
    """

    ask: Ask | None
    yes: bool
    _agreed: tuple[str, ...] = ()

    def require(self, subject: str, reasons: Sequence[str], hint: str) -> None:
        """Go on if there is nothing to confirm, or it was confirmed.

        Raises:
            UnconfirmedError: Nobody meant it yet.
        """
        if reasons and not self.yes and tuple(reasons) != self._agreed:
            raise UnconfirmedError(subject, reasons, hint)

    def obtain(self, error: UnconfirmedError) -> None:
        """Ask for what was missing, so that the same is confirmed from now on.

        Raises:
            UnconfirmedError: The same, where nobody can be asked.
            StoppedError: The person said no.
        """
        if self.ask is None:
            raise error
        if not self.ask(f"{error}. Go on?"):
            raise StoppedError("stopped", hint="nothing was changed")
        self._agreed = error.reasons


def ask_on_terminal(question: str) -> bool:
    """Ask on stderr; an empty answer is no."""
    import typer

    return typer.confirm(question, default=False, err=True)


def confirmation_for(*, yes: bool) -> Confirmation:
    """Give what asks the person at the terminal, if there is one."""
    is_person = sys.stdin.isatty() and sys.stderr.isatty()
    return Confirmation(ask_on_terminal if is_person else None, yes)


def review_change(name: str, change: SnapshotChange, confirmation: Confirmation) -> None:
    """See that what is harmful of a change was meant.

    Raises:
        UnconfirmedError: Nobody meant it yet.
    """
    confirmation.require(
        f"cohort {name}, next snapshot",
        change.to_confirm,
        hint="nothing was changed; look with --dry-run, correct the label file, or if it is meant"
        " say --yes",
    )
