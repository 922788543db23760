"""A lost or outdated split record, made again from the snapshots.

Identities enter the record with a snapshot alone, and a snapshot has those of its cases, with their
splits, under the site's seal. So all snapshots together hold the record, as long as none is gone.
What an old record that is whole knows beside them is kept: cohorts that were removed have no
snapshot, and nobody is to be forgotten who was excluded.
"""

import secrets
from collections.abc import Iterator

from fedward_client.cohorts.registered.cohort_folder import registered_names
from fedward_client.cohorts.registered.excluded_patients import excluded_patients
from fedward_client.cohorts.registered.snapshot_store import (
    newest_recorded_counts,
    read_snapshot,
    snapshot_numbers,
)
from fedward_client.cohorts.registered.split_decision import more_seen
from fedward_client.cohorts.registered.split_record import (
    SplitRecord,
    only_snapshot_maker,
    record_file,
)
from fedward_client.cohorts.source import Split
from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import sync_folder
from fedward_common.errors import CorruptFileError


def rebuild_split_record(home: SiteHome) -> int:
    """Make the split record from all snapshots and the old record, and keep that beside it.

    A split only ever changes to one that is seen more, so an older copy says nothing wrong. What no
    snapshot has, and no whole record, is forgotten.

    Killed at any point, it leaves the old file or the new one.

    Returns:
        The number of identities.

    Raises:
        CorruptFileError: A snapshot or the list of excluded patients is damaged, or there are fewer
            identities than the record had when the newest snapshot was made; the old file stays.
    """
    path = record_file(home)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    with only_snapshot_maker(home.folder):
        splits, num_excluded = _of_old_record(home)
        for name, split in _identities(home):
            splits[name] = more_seen(split, splits.get(name, split))
        needed = max(newest_recorded_counts(home), default=0)
        if len(splits) < needed:
            raise CorruptFileError(
                f"snapshots and old record have {len(splits)} identities, and the split record had"
                f" {needed}",
                hint="restore split_record.sqlite, or the cohorts that are gone, from the backup",
            )
        num_excluded = max(num_excluded, len(excluded_patients(home)))
        try:
            record = SplitRecord(new, home.seal_key())
            record.add(splits)
            record.note_excluded(num_excluded)
            if path.exists():
                old = path.with_name(f"{path.name}.old")
                old.unlink(missing_ok=True)
                old.hardlink_to(path)  # so that there is a record at every moment
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(home.folder)
    return len(splits)


def _of_old_record(home: SiteHome) -> tuple[dict[str, Split], int]:
    """Give splits and the number of excluded patients; of a damaged record nothing is believed."""
    old = SplitRecord(record_file(home), home.seal_key())
    try:
        return old.all_splits(), old.num_excluded
    except CorruptFileError:
        return {}, 0


def _identities(home: SiteHome) -> Iterator[tuple[str, Split]]:
    for cohort in registered_names(home):
        for number in snapshot_numbers(home, cohort):
            for case in read_snapshot(home, f"{cohort}@{number}").cases:
                yield from ((name, case.split) for name in case.identities)
