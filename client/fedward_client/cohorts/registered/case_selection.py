"""Matched lines to the cases of a snapshot: patients, splits, twins, exclusions, quarantine.

Every line ends as a case, or as one finding with its line, or as a warning that another line said
the same.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.registered.case_identities import (
    CaseIdentities,
    identities_of,
    require_images_of_different_patients,
)
from fedward_client.cohorts.registered.excluded_patients import is_excluded
from fedward_client.cohorts.registered.label_matching import MatchedCase
from fedward_client.cohorts.registered.patient_identity import patient_findings
from fedward_client.cohorts.registered.quarantine import Quarantine
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.scanner_names import modality_name, scanner_name
from fedward_client.cohorts.registered.snapshot import SnapshotCase
from fedward_client.cohorts.registered.split_decision import (
    decide_splits,
    more_seen,
    most_seen_of_persons,
    persons_in_two_splits,
)
from fedward_client.cohorts.source import E_PATIENT_IN_TWO_SPLITS, Split
from fedward_client.pseudonyms import pseudonym

E_LABEL_CONTRADICTS = "E_LABEL_CONTRADICTS"
W_LABEL_TWICE = "W_LABEL_TWICE"
EXCLUDED_BY_REQUEST = "EXCLUDED_BY_REQUEST"


@dataclass(frozen=True)
class SiteKeys:
    """The two keys that never leave the site."""

    split_key: bytes = field(repr=False)
    pseudonym_key: bytes = field(repr=False)


@dataclass(frozen=True)
class Selection:
    """What a snapshot is made of.

    Args:
        cases: In the label file's order.
        findings: Why the other lines are not among them, and warnings.
        splits: Record key -> split, of every identity of the cases.
    """

    cases: tuple[SnapshotCase, ...]
    findings: tuple[Finding, ...]
    splits: Mapping[str, Split] = field(repr=False)


def select_cases(
    matched: Sequence[MatchedCase],
    registration: CohortRegistration,
    keys: SiteKeys,
    recorded: Callable[[Iterable[str]], Mapping[str, Split]],
    excluded: Collection[str],
    quarantine: Quarantine,
) -> Selection:
    """Decide what goes into the snapshot.

    Args:
        matched: Sound lines.
        registration: Of the cohort.
        keys: The site's.
        recorded: Gives the splits of earlier snapshots for record keys.
        excluded: Pseudonyms of excluded patients.
        quarantine: What earlier checks saw in pixels; a warning does not cost the case.

    Raises:
        ConfigurationError: Images are the unit although their headers have patient ids.
    """
    if registration.unit == "image":
        require_images_of_different_patients(matched)
    findings: list[Finding] = []
    kept = _without_excluded(matched, keys.pseudonym_key, excluded, findings)
    if registration.unit == "patient":
        kept = _without_contradicting_patients(kept, findings)
    identities = identities_of(kept, registration, keys.pseudonym_key)
    kept, splits = _with_splits(kept, registration, keys, identities, recorded, findings)
    kept = _without_twins(kept, findings)
    cases: list[SnapshotCase] = []
    used: dict[str, Split] = {}
    for one in kept:
        names = tuple(sorted(identities.to_record(one.patient)))
        case = _case_of(one, splits[one.patient], names, keys.pseudonym_key)
        code = quarantine.code_of(case)
        if code is not None:
            findings.append(Finding(code, one.line, place=case.files[0].locator))
        if code is not None and not code.startswith("W_"):
            continue
        cases.append(case)
        used |= {name: more_seen(case.split, used.get(name, case.split)) for name in names}
    return Selection(tuple(cases), tuple(sorted(findings, key=_by_line)), used)


def _by_line(finding: Finding) -> tuple[int, str, str]:
    return finding.line or 0, finding.code, finding.place


def _drop(
    cases: Iterable[MatchedCase],
    findings: list[Finding],
    code_of: Callable[[MatchedCase], str | None],
) -> list[MatchedCase]:
    """Keep the cases without a code; each line of the others is one finding."""
    kept: list[MatchedCase] = []
    told: set[tuple[int, str]] = set()
    for one in cases:
        code = code_of(one)
        if code is None:
            kept.append(one)
        elif (one.line, code) not in told:
            told.add((one.line, code))
            findings.append(Finding(code, one.line, place=one.files[0].locator))
    return kept


def _without_excluded(
    matched: Sequence[MatchedCase], key: bytes, excluded: Collection[str], findings: list[Finding]
) -> list[MatchedCase]:
    if not excluded:
        return list(matched)

    def code_of(one: MatchedCase) -> str | None:
        ids = {one.patient, one.stated.in_labels, one.stated.in_header}
        return EXCLUDED_BY_REQUEST if is_excluded(key, excluded, ids) else None

    return _drop(matched, findings, code_of)


def _without_contradicting_patients(
    matched: list[MatchedCase], findings: list[Finding]
) -> list[MatchedCase]:
    found = patient_findings([one.stated for one in matched])
    findings += [one for one in found if one.line is None]
    code_of_line = {one.line: one.code for one in found if one.line is not None}
    return _drop(matched, findings, lambda one: code_of_line.get(one.line))


def _with_splits(
    matched: list[MatchedCase],
    registration: CohortRegistration,
    keys: SiteKeys,
    identities: CaseIdentities,
    recorded: Callable[[Iterable[str]], Mapping[str, Split]],
    findings: list[Finding],
) -> tuple[list[MatchedCase], Mapping[str, Split]]:
    """Give the cases whose unit has a split, and the splits by unit; one person is one decision."""
    person_of = identities.person_of
    stated: dict[str, set[Split]] = {person: set() for person in person_of.values()}
    for one in matched:
        if one.stated_split is not None:
            stated[person_of[one.patient]].add(one.stated_split)
    earlier = recorded({name for names in identities.of_unit.values() for name in names})
    known = most_seen_of_persons(person_of, identities.of_unit, earlier)
    decision = decide_splits(stated, known, registration.task.split, keys.split_key)
    kept = _drop(matched, findings, lambda one: decision.codes.get(person_of[one.patient]))
    splits = {one.patient: decision.splits[person_of[one.patient]] for one in kept}
    if registration.unit == "patient":
        torn = persons_in_two_splits(
            (one.stated.person_key, one.patient, splits[one.patient]) for one in kept
        )
        kept = _drop(
            kept, findings, lambda one: E_PATIENT_IN_TWO_SPLITS if one.patient in torn else None
        )
    return kept, splits


def _without_twins(matched: list[MatchedCase], findings: list[Finding]) -> list[MatchedCase]:
    """Of lines that say the same of one image the first counts; contradictions cost all."""
    by_identity: dict[str, list[MatchedCase]] = defaultdict(list)
    for one in matched:
        by_identity[one.identity].append(one)
    torn = {name for name, several in by_identity.items() if _contradict(several)}
    kept = _drop(
        matched, findings, lambda one: E_LABEL_CONTRADICTS if one.identity in torn else None
    )
    return _drop(kept, findings, _SaidBefore())


def _contradict(several: list[MatchedCase]) -> bool:
    return any(not several[0].says_the_same(other) for other in several[1:])


class _SaidBefore:
    """Gives `W_LABEL_TWICE` for every line about an image after its first."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, one: MatchedCase) -> str | None:
        if one.identity in self._seen:
            return W_LABEL_TWICE
        self._seen.add(one.identity)
        return None


def _case_of(
    one: MatchedCase, split: Split, identities: tuple[str, ...], key: bytes
) -> SnapshotCase:
    facts = one.first
    return SnapshotCase(
        case_id=pseudonym(key, "case", one.identity),
        patient=one.patient,
        kind=one.kind,
        files=one.files,
        frame=one.frame,
        label=one.label,
        split=split,
        mask=one.mask,
        line=one.line,
        sex=facts.patient_sex,
        age_years=facts.patient_age_years,
        scanner=scanner_name(facts.manufacturer),
        modality=modality_name(facts.modality),
        identities=identities,
    )
