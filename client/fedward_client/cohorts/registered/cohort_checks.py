"""What can be said of a cohort as a whole: its limits, and pixels that occur twice. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.snapshot import Snapshot, SnapshotCase
from fedward_client.cohorts.registered.snapshot_building import costs_a_case, is_wanted
from fedward_client.cohorts.source import E_COHORT_EMPTY, E_TOO_MANY_EXCLUDED

E_TOO_FEW_PATIENTS = "E_TOO_FEW_PATIENTS"
E_PIXELS_IN_TWO_SPLITS = "E_PIXELS_IN_TWO_SPLITS"
W_PIXELS_TWICE = "W_PIXELS_TWICE"


def limits_passed(snapshot: Snapshot, registration: CohortRegistration) -> tuple[str, ...]:
    """Give the codes of the cohort's limits that this snapshot passes.

    Cases that the mapping or a request excludes are wanted out, and count neither way.
    """
    wanted = sum(costs_a_case(one) and is_wanted(one) for one in snapshot.findings)
    unusable = sum(costs_a_case(one) and not is_wanted(one) for one in snapshot.findings)
    num_patients = len({one.patient for one in snapshot.cases})
    passed = {
        E_COHORT_EMPTY: not snapshot.cases,
        E_TOO_MANY_EXCLUDED: unusable
        > registration.max_excluded_share * (snapshot.num_found - wanted),
        E_TOO_FEW_PATIENTS: num_patients < registration.min_patients,
    }
    return tuple(code for code, is_passed in passed.items() if is_passed)


def codes_of_equal_pixels(
    cases: Sequence[SnapshotCase], pixels_sha256: Iterable[tuple[str, str]]
) -> Mapping[str, str]:
    """Give a code to cases whose pixels stand elsewhere too.

    Args:
        cases: In the label file's order.
        pixels_sha256: Case id and hash of the decoded pixels.

    Returns:
        Case id -> `E_PIXELS_IN_TWO_SPLITS` for all that share pixels across splits;
        `W_PIXELS_TWICE` for each after the first within one split.
    """
    case_of = {one.case_id: one for one in cases}
    twins: dict[str, list[SnapshotCase]] = defaultdict(list)
    for case_id, digest in pixels_sha256:
        twins[digest].append(case_of[case_id])
    codes: dict[str, str] = {}
    for several in twins.values():
        if len({one.split for one in several}) > 1:
            codes |= {one.case_id: E_PIXELS_IN_TWO_SPLITS for one in several}
        else:
            codes |= {one.case_id: W_PIXELS_TWICE for one in several[1:]}
    return codes
