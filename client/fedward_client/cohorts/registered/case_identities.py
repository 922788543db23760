"""Every name under which the split record knows a case's person, and which cases are of one person.

A cohort may know a patient by the header's id, by an id of its label file, by name, birth date and
sex, or by nothing but the image's UID, and the next cohort by another of these. The record holds
and is asked for all of them, so that nobody who was trained on tests a model under another name.

A name that stands for too many is nobody's: an archive without patient ids has one for everybody.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fedward_client.cohorts.registered.label_matching import MatchedCase
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.split_record import record_key
from fedward_client.pseudonyms import pseudonym
from fedward_common.errors import ConfigurationError

# One person, or one id, with more units than these is no person.
MOST_IDS_OF_A_PERSON = 10
_LARGEST_SHARE_OF_AN_ID = 20


@dataclass(frozen=True)
class CaseIdentities:
    """The identities of one cohort's cases.

    Args:
        unit_key: Unit -> its own key, as `record_key` gives it.
        of_unit: Unit -> all keys that the record is asked for.
        lasting: Keys that the record is to hold; the others are of several units apart.
        person_of: Unit -> one unit for all that are surely of one person.
    """

    unit_key: Mapping[str, str] = field(repr=False)
    of_unit: Mapping[str, frozenset[str]] = field(repr=False)
    lasting: frozenset[str] = field(repr=False)
    person_of: Mapping[str, str] = field(repr=False)

    def to_record(self, unit: str) -> Iterable[str]:
        """Give the keys under which the record is to hold a unit."""
        return self.of_unit[unit] & self.lasting


def identities_of(
    matched: Sequence[MatchedCase], registration: CohortRegistration, key: bytes
) -> CaseIdentities:
    """Find the identities of all units, and join the units that share one.

    Units are joined by the header's id, by that of the label file, and by an image that lines name
    under both; lesions by the person too.
    Patients with one person key are not: whether they may stand in two splits is asked afterwards.

    Args:
        matched: Sound lines.
        registration: Of the cohort.
        key: The site's pseudonym key.
    """
    unit_key: dict[str, str] = {}
    images: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    persons: dict[str, set[str]] = defaultdict(set)
    for one in matched:
        unit_key[one.patient] = _unit_key(one, registration, key)
        images[one.patient].add(pseudonym(key, "instance", one.identity))
        ids[one.patient] |= {pseudonym(key, "patient", name) for name in _ids(one, registration)}
        persons[one.patient] |= {one.stated.person_key} - {""}
    ids = _without_nobodys(ids, max(MOST_IDS_OF_A_PERSON, len(ids) // _LARGEST_SHARE_OF_AN_ID))
    persons = _without_nobodys(persons, MOST_IDS_OF_A_PERSON)
    joining = _both(ids, persons) if registration.unit == "lesion" else ids
    joining = _both(joining, images)
    names = _both(ids, persons)
    of_unit = {
        unit: frozenset({own, *images[unit], *names[unit]}) for unit, own in unit_key.items()
    }
    lasting = frozenset(name for several in of_unit.values() for name in several)
    if registration.unit == "image":  # two images of one person may stand in two splits
        lasting -= {person for person, units in _holders(persons).items() if len(units) > 1}
    return CaseIdentities(unit_key, of_unit, lasting, _joined(joining))


def require_images_of_different_patients(matched: Iterable[MatchedCase]) -> None:
    """See that headers without patient ids are why images are the unit.

    Raises:
        ConfigurationError: Two images have the same PatientID: apart, one could train a model that
            the other tests.
    """
    images: dict[str, set[str]] = defaultdict(set)
    for one in matched:
        if one.stated.in_header:
            images[one.stated.in_header].add(one.identity)
    num_repeated = sum(len(several) > 1 for several in images.values())
    if num_repeated:
        raise ConfigurationError(
            f"unit 'image': several images share a PatientID in their headers ({num_repeated} such"
            " ids), and each image would count as a patient of its own",
            hint="use --unit patient; where these ids are placeholders, name who is who in the"
            " label file (patient, or lesion_id with --unit lesion)",
        )


def _unit_key(one: MatchedCase, registration: CohortRegistration, key: bytes) -> str:
    return record_key(
        key, registration.unit, registration.name, one.patient, is_uid=one.patient_is_uid
    )


def _ids(one: MatchedCase, registration: CohortRegistration) -> set[str]:
    """Give the patient ids of a case; a lesion's id is none."""
    in_labels = "" if registration.unit == "lesion" else one.stated.in_labels
    return {one.stated.in_header, in_labels} - {""}


def _without_nobodys(names: Mapping[str, set[str]], most: int) -> dict[str, set[str]]:
    nobodys = {name for name, units in _holders(names).items() if len(units) > most}
    return {unit: several - nobodys for unit, several in names.items()}


def _both(some: Mapping[str, set[str]], more: Mapping[str, set[str]]) -> dict[str, set[str]]:
    return {unit: some[unit] | more[unit] for unit in some}


def _holders(names: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Turn unit -> names into name -> units."""
    holders: dict[str, set[str]] = defaultdict(set)
    for unit, several in names.items():
        for name in several:
            holders[name].add(unit)
    return holders


def _joined(names: Mapping[str, set[str]]) -> dict[str, str]:
    """Give each unit the first, by name, of all that it is joined with."""
    holders = _holders(names)
    first_of: dict[str, str] = {}
    for unit in sorted(names):
        todo = [unit] if unit not in first_of else []
        while todo:
            one = todo.pop()
            if one not in first_of:
                first_of[one] = unit
                todo += [other for name in names[one] for other in holders[name]]
    return first_of
