"""Which patients train, validate and test.

A split comes from the manifest, or from a keyed hash of the patient: the same patient falls into
the same split in every cohort and job of the site, and nobody without the key can tell which.
"""

import dataclasses
import hashlib
import hmac
from collections.abc import Hashable, Iterable

from fedward_client.cohorts.source import SPLITS, Case, Split
from fedward_common.job.job_file import SplitFractions

_DOMAIN = b"fedward patient split v1\0"


def split_of_patient(patient: str, key: bytes, fractions: SplitFractions) -> Split:
    """Give a patient's split: HMAC-SHA256 as a number from 0 to 1, cut at the fractions.

    Depends on nothing but its arguments. A split of share 0 gets nobody.
    """
    digest = hmac.new(key, _DOMAIN + patient.encode("utf-8"), hashlib.sha256).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    shares = (fractions.train, fractions.validation, fractions.test)
    present = [(name, share) for name, share in zip(SPLITS, shares, strict=True) if share > 0]
    bound = 0.0
    for name, share in present[:-1]:
        bound += share
        if position < bound:
            return name
    return present[-1][0]  # the last takes the rest, so rounding leaves no gap


def with_split(case: Case, key: bytes, fractions: SplitFractions) -> tuple[Case, Split]:
    """Give the case with its split: the manifest's, or else that of its patient's hash."""
    split = case.split or split_of_patient(case.patient, key, fractions)
    return dataclasses.replace(case, split=split), split


def in_two_splits(members: Iterable[tuple[Hashable, Split]]) -> set[Hashable]:
    """Find the patients that appear in more than one split."""
    first: dict[Hashable, Split] = {}
    return {patient for patient, split in members if first.setdefault(patient, split) != split}
