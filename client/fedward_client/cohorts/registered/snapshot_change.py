"""What the next snapshot of a cohort would change, in counts, and what of it a person must mean.

A split is recorded for ever, so a wrong split column, mapping or folder is best seen before the
snapshot is made. Pure: nothing is read or written.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from fedward_client.cohorts.findings import counts_by_code
from fedward_client.cohorts.registered.snapshot import Snapshot, SnapshotCase
from fedward_client.cohorts.registered.snapshot_building import costs_a_case, is_wanted
from fedward_client.cohorts.registered.split_decision import E_SPLIT_MOVED
from fedward_client.cohorts.source import SPLITS, Split

LARGEST_SHARE_LOST = 0.1


@dataclass(frozen=True)
class SnapshotChange:
    """A snapshot beside the one before it.

    Args:
        is_new: Whether it differs at all.
        unit: What is counted, as "patient".
        splits_before: Units by split, those who are excluded now left out; None where the cohort
            has no snapshot.
        splits: Units by split.
        found: Cases that the label file lists.
        leaving_test: Units recorded for the test split, by whatever cohort, that would be recorded
            for training or validation: for ever.
        lost: Units of the snapshot before that are in this one no more.
        new_codes: Code -> how many more lines than before cannot be used.
    """

    is_new: bool
    unit: str
    splits_before: Mapping[Split, int] | None
    splits: Mapping[Split, int]
    found: int
    leaving_test: int
    lost: int
    new_codes: Mapping[str, int] = field(default_factory=dict)

    @property
    def to_confirm(self) -> tuple[str, ...]:
        """What a person must mean, each in words; empty where nothing of it is harmful."""
        return tuple(self._to_confirm()) if self.is_new else ()

    @property
    def taken_from_the_test(self) -> str:
        """That units leave the test split for ever, in words; "" where none does."""
        if not self.leaving_test:
            return ""
        leave = f"{self.unit} leaves" if self.leaving_test == 1 else f"{self.unit}s leave"
        return f"{self.leaving_test} {leave} the test split, for ever"

    def _to_confirm(self) -> Iterable[str]:
        before = self.splits_before or dict.fromkeys(SPLITS, 0)
        num_before = sum(before.values())
        if self.leaving_test:
            yield self.taken_from_the_test
        if self.splits["test"] < before["test"]:
            yield f"the test split shrinks from {before['test']} to {self.splits['test']}"
        if self.lost > LARGEST_SHARE_LOST * num_before:
            yield f"{self.lost} of {num_before} {self.unit}s would be lost"
        moved = self.new_codes.get(E_SPLIT_MOVED, 0)
        if moved > LARGEST_SHARE_LOST * self.found:
            yield f"{moved} of {self.found} cases have another split than recorded"


def change_between(
    before: Snapshot | None,
    after: Snapshot,
    *,
    excluded: Collection[str],
    recorded: Mapping[str, Split],
) -> SnapshotChange:
    """Compare the next snapshot with the newest.

    Args:
        before: The newest, or None.
        after: As it would be made.
        excluded: Patients of `before` that were excluded since: wanted out, so not lost.
        recorded: Identity -> the split of an earlier snapshot, of any cohort of the site.
    """
    known = [] if before is None else [o for o in before.cases if o.patient not in excluded]
    patients_after = {one.patient for one in after.cases}
    return SnapshotChange(
        is_new=before is None or before.fingerprint != after.fingerprint,
        unit=after.unit,
        splits_before=None if before is None else _units_by_split(known),
        splits=_units_by_split(after.cases),
        found=after.num_found,
        leaving_test=_num_leaving_test(after.cases, recorded),
        lost=len({one.patient for one in known} - patients_after),
        new_codes=_new_codes(before, after),
    )


def _units_by_split(cases: Iterable[SnapshotCase]) -> dict[Split, int]:
    counts = Counter({one.patient: one.split for one in cases}.values())
    return {split: counts[split] for split in SPLITS}


def _num_leaving_test(cases: Iterable[SnapshotCase], recorded: Mapping[str, Split]) -> int:
    return len(
        {
            one.patient
            for one in cases
            if one.split != "test" and any(recorded.get(o) == "test" for o in one.identities)
        }
    )


def _new_codes(before: Snapshot | None, after: Snapshot) -> dict[str, int]:
    now, then = _lost_lines(after), {} if before is None else _lost_lines(before)
    more = {code: count - then.get(code, 0) for code, count in now.items()}
    return {code: count for code, count in more.items() if count > 0}


def _lost_lines(snapshot: Snapshot) -> Mapping[str, int]:
    return counts_by_code(
        one for one in snapshot.findings if costs_a_case(one) and not is_wanted(one)
    )
