"""Which split each patient falls into, for ever.

The label file decides where it speaks; one word about a patient counts for all images of that
patient. Else what was recorded before; else the keyed hash of the patient. A patient may move to a
split that is seen more, never to one that is seen less: who was trained on must not test the model.
What was recorded of any of a person's identities counts for all of them (`case_identities`).
One person under two ids (same name, birth date and sex) stands in one split or in none.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from fedward_client.cohorts.source import (
    E_PATIENT_IN_TWO_SPLITS,
    SPLITS,
    Split,
)
from fedward_client.cohorts.splits import split_of_patient
from fedward_common.job.sections import SplitFractions

E_SPLIT_MOVED = "E_SPLIT_MOVED"

# More ids are no person's: the archive has one name and birth date for everybody.
_MOST_IDS_OF_A_PERSON = 10
_MOST_SEEN_FIRST = {split: place for place, split in enumerate(SPLITS)}


@dataclass(frozen=True)
class SplitDecision:
    """Splits of the patients that have one, and codes of the others."""

    splits: Mapping[str, Split] = field(repr=False)
    codes: Mapping[str, str] = field(repr=False)


def decide_splits(
    stated: Mapping[str, Set[Split]],
    recorded: Mapping[str, Split],
    fractions: SplitFractions,
    split_key: bytes,
) -> SplitDecision:
    """Decide for each patient of `stated`.

    Args:
        stated: Patient -> what the label file's lines say; empty where they say nothing.
        recorded: Patient -> the split of an earlier snapshot, of any cohort of the site.
        fractions: Of the task.
        split_key: Of the site.
    """
    splits: dict[str, Split] = {}
    codes: dict[str, str] = {}
    for patient, words in stated.items():
        before = recorded.get(patient)
        if len(words) > 1:
            codes[patient] = E_PATIENT_IN_TWO_SPLITS
            continue
        now = next(iter(words), before) or split_of_patient(patient, split_key, fractions)
        if before is not None and _MOST_SEEN_FIRST[now] > _MOST_SEEN_FIRST[before]:
            codes[patient] = E_SPLIT_MOVED
        else:
            splits[patient] = now
    return SplitDecision(splits, codes)


def most_seen_of_persons(
    person_of: Mapping[str, str],
    identities: Mapping[str, Iterable[str]],
    recorded: Mapping[str, Split],
) -> dict[str, Split]:
    """Give each person's recorded split: of all identities, that which a model sees most.

    Args:
        person_of: Unit -> person.
        identities: Unit -> keys of the record.
        recorded: Key -> split, of those that have one.
    """
    known: dict[str, Split] = {}
    for unit, person in person_of.items():
        for key in identities[unit]:
            split = recorded.get(key)
            if split is not None:
                known[person] = more_seen(split, known.get(person, split))
    return known


def more_seen(one: Split, other: Split) -> Split:
    """Give the split whose patients a model sees more of: train, then validation, then test."""
    return min(one, other, key=_MOST_SEEN_FIRST.__getitem__)


def persons_in_two_splits(placed: Iterable[tuple[str, str, Split]]) -> frozenset[str]:
    """Give the ids of persons whose ids fall into different splits.

    Args:
        placed: Person key, patient id and split; an empty key is nobody's.
    """
    ids: dict[str, set[str]] = defaultdict(set)
    splits: dict[str, set[Split]] = defaultdict(set)
    for person, patient, split in placed:
        if person:
            ids[person].add(patient)
            splits[person].add(split)
    return frozenset(
        patient
        for person, patients in ids.items()
        if len(splits[person]) > 1 and len(patients) <= _MOST_IDS_OF_A_PERSON
        for patient in patients
    )
