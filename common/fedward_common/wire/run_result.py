"""The last exchange of a run: what the sites are told came of it, and what they sign for that.

`RunResult` has the pooled figures of the run's report and nothing else of any site. With two sites
in a sum each could take its own part off and have the other's, so that figures of so few are left
out. Both messages name the heads of the logs that they were written into: afterwards neither side
can write its log anew without the other's copy showing it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedward_common.errors import MalformedMessageError

MAX_RESULT_BYTES = 1 << 18
FEWEST_SITES_TOLD = 3
"""Whose sums must be in a figure before sites are told of it."""

_MAX_TEXT_CHARACTERS = 300
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class PooledFigure:
    """A `Figure` of pooled patients, with all its fields."""

    value: float | None
    low: float | None
    high: float | None
    support: int
    reason: str | None
    bin_bound: float | None
    excluded: int
    positives: int | None
    negatives: int | None

    def __post_init__(self) -> None:
        counts = (self.support, self.excluded, self.positives or 0, self.negatives or 0)
        if min(counts) < 0:
            raise MalformedMessageError("a figure counts fewer than 0 cases")
        if len(self.reason or "") > _MAX_TEXT_CHARACTERS:
            raise MalformedMessageError("the reason for a missing figure is too long")


@dataclass(frozen=True)
class RunResult:
    """`query.result`: the run is over, and this is what the report says of all sites together.

    Attributes:
        test: Figures of the test patients by name, as in `metrics` of `result.json`; none where
            fewer than `FEWEST_SITES_TOLD` sites gave their sums.
        validation: The same of the validation patients, with the weights that were tested; none
            where nobody evaluated these, or so few.
        threshold_bin_edges: By finding, as `Threshold` has them; none where the task has no
            threshold, or `validation` is left out.
        selected_round: Whose weights were tested.
        rounds_committed: How many rounds came into the model.
        num_sites: Whose sums are in `test`.
        journal_head: SHA-256 of the last line of the run's journal.
        journal_lines: How many lines it had.
    """

    test: Mapping[str, PooledFigure]
    validation: Mapping[str, PooledFigure]
    threshold_bin_edges: Mapping[str, int]
    selected_round: int
    rounds_committed: int
    num_sites: int
    journal_head: str
    journal_lines: int

    def __post_init__(self) -> None:
        _require_sha256("journal_head", self.journal_head)
        counts = (self.selected_round, self.rounds_committed, self.num_sites, self.journal_lines)
        if min(counts) < 1:
            raise MalformedMessageError("a run that is over has rounds, sites and a journal")
        if self.num_sites < FEWEST_SITES_TOLD and self.test:
            raise MalformedMessageError(f"figures of {self.num_sites} sites are not told")
        names = (*self.test, *self.validation, *self.threshold_bin_edges)
        if any(len(name) > _MAX_TEXT_CHARACTERS for name in names):
            raise MalformedMessageError("a figure's name is too long")


@dataclass(frozen=True)
class ResultReceipt:
    """The site's answer: it keeps the result, and its own records stood so.

    A log's length would tell how often something was decided or refused here, a ledger's how many
    rounds this site's patients were in, and a bare hash lets anybody test guesses of a short log.
    So both give their head alone, blinded under the site's own key.

    Attributes:
        audit_head: Of the audit log, blinded; its last line is about this result or came later.
        ledger_head: As `Ledger.blinded_head` gives it; empty where there is no ledger.
    """

    audit_head: str
    ledger_head: str

    def __post_init__(self) -> None:
        _require_sha256("audit_head", self.audit_head)
        if self.ledger_head:
            _require_sha256("ledger_head", self.ledger_head)


def _require_sha256(name: str, value: str) -> None:
    if not _SHA256.fullmatch(value):
        raise MalformedMessageError(f"{name} is no SHA-256 in hex")
