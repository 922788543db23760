"""Patients who were taken out of every cohort, found again in a job view.

A view keeps a keyed pseudonym of each case's patient, as the site's list of excluded patients does,
so a run that goes on leaves them out from its next round, whatever snapshot it was accepted with.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.registered.excluded_patients import excluded_patients
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome, pseudonym_key_of

if TYPE_CHECKING:
    from fedward_client.cohorts.case_plan import PlannedCase

PSEUDONYM_BYTES = 16


def pseudonyms_of(
    cases: "Sequence[PlannedCase]", settings: Sequence[SourceSettings], split_key: bytes
) -> NDArray[np.uint8]:
    """Give each case's patient as the list of excluded patients would, shape (n, 16).

    The key is the site's own; a registered cohort's is that of the home it is registered in.
    """
    keys = [
        SiteHome(Path(one.path)).pseudonym_key()
        if one.source == "registered"
        else pseudonym_key_of(split_key)
        for one in settings
    ]
    names = [pseudonym(keys[one.source], "patient", one.case.patient) for one in cases]
    content = np.frombuffer(bytes.fromhex("".join(names)), dtype=np.uint8)
    return content.reshape(len(cases), PSEUDONYM_BYTES)


def withdrawn_patients(home: SiteHome, settings: Sequence[SourceSettings]) -> frozenset[bytes]:
    """Give the pseudonyms of all that are excluded now, at this home or where a cohort is from.

    Raises:
        CorruptFileError: A list is damaged; nobody is then taken for not excluded.
    """
    homes = {one.path for one in settings if one.source == "registered"} | {str(home.folder)}
    names = {name for one in homes for name in excluded_patients(_home_at(one))}
    return frozenset(map(bytes.fromhex, names))


@functools.lru_cache(maxsize=64)
def _home_at(folder: str) -> SiteHome:
    # Asked at every message of a run: making a path costs more than looking at an absent file.
    return SiteHome(Path(folder))


def cases_of_patients(
    pseudonyms: NDArray[np.uint8], patients: NDArray[np.int64], withdrawn: frozenset[bytes]
) -> NDArray[np.bool_]:
    """Say of each case whether its patient is among `withdrawn`.

    Args:
        pseudonyms: Of each case, shape (n, 16).
        patients: Patient number of each case, shape (n,): one case of a patient speaks for all.
        withdrawn: Pseudonyms.
    """
    named = np.array([bytes(row) in withdrawn for row in pseudonyms], dtype=bool)
    return np.isin(patients, patients[named])
