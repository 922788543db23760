"""What only shows once all headers are known: findings by SQL over the index."""

import itertools
import sqlite3
from collections.abc import Iterator

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.index.index_rows import locator_text, printable_place

NOT_DICOM = "E_NOT_DICOM"
_IDS_SHOWN = 20
_FILES_SHOWN = 4

_DUPLICATES = (
    "SELECT f.sop_instance_uid, f.locator, f.size_bytes, f.content_sha256 FROM files f JOIN"
    " (SELECT sop_instance_uid AS uid FROM files WHERE sop_instance_uid IS NOT NULL"
    " GROUP BY sop_instance_uid HAVING count(*) > 1) d ON f.sop_instance_uid = d.uid"
    " ORDER BY f.sop_instance_uid, f.locator"
)
_IN_USE = "EXISTS (SELECT 1 FROM files f WHERE f.header_id = h.id)"
_SEVERAL_STUDIES = (
    f"SELECT accession_number FROM headers h WHERE accession_number <> '' AND {_IN_USE}"  # noqa: S608
    " GROUP BY accession_number HAVING count(DISTINCT study_instance_uid) > 1"
)
_PERSONS_TWICE = (
    f"SELECT person_key FROM headers h WHERE person_key <> '' AND patient_id <> ''"  # noqa: S608
    f" AND {_IN_USE} GROUP BY person_key HAVING count(DISTINCT patient_id) > 1"
)
_IDS_OF_PERSON = (
    f"SELECT DISTINCT patient_id FROM headers h WHERE person_key = ? AND patient_id <> ''"  # noqa: S608
    f" AND {_IN_USE} ORDER BY patient_id LIMIT {_IDS_SHOWN + 1}"
)
_STUDIES_OF_TWO = (
    f"SELECT study_instance_uid FROM headers h WHERE patient_id <> '' AND {_IN_USE}"  # noqa: S608
    " GROUP BY study_instance_uid HAVING count(DISTINCT patient_id) > 1"
)


def problems(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Give unusable files by code and place; those that are no DICOM do not count."""
    rows = connection.execute(
        "SELECT code, locator FROM files WHERE code IS NOT NULL AND code <> ?"
        " ORDER BY code, locator",
        (NOT_DICOM,),
    )
    for code, locator in rows:
        yield Finding(code, place=printable_place(locator_text(locator)))


def scan_findings(connection: sqlite3.Connection) -> list[Finding]:
    """Give duplicates, and what is wrong between patients, studies and accession numbers."""
    found = [*_duplicates(connection), *_patients_twice(connection)]
    for code, statement in (
        ("W_SEVERAL_STUDIES", _SEVERAL_STUDIES),
        ("E_STUDY_OF_TWO_PATIENTS", _STUDIES_OF_TWO),
    ):
        found += [Finding(code, place=place) for (place,) in connection.execute(statement)]
    return sorted(found, key=lambda one: (one.code, one.place))


def _duplicates(connection: sqlite3.Connection) -> Iterator[Finding]:
    rows = connection.execute(_DUPLICATES)
    for _, group in itertools.groupby(rows, key=lambda row: row[0]):
        files = list(group)
        places = [printable_place(locator_text(row[1])) for row in files]
        if _are_twins([row[2:] for row in files]):
            yield from (Finding("W_DUPLICATE_FILE", place=place) for place in places[1:])
        else:
            yield Finding("E_DUPLICATE_INSTANCE", place=_first_of(places))


def _are_twins(contents: list[tuple[int, bytes | None]]) -> bool:
    """Say whether files have one size and one hash; what nobody compared may be anything."""
    return len(set(contents)) == 1 and contents[0][1] is not None


def _patients_twice(connection: sqlite3.Connection) -> Iterator[Finding]:
    for (person,) in connection.execute(_PERSONS_TWICE).fetchall():
        ids = [row[0] for row in connection.execute(_IDS_OF_PERSON, (person,))]
        more = ", ..." if len(ids) > _IDS_SHOWN else ""
        yield Finding("W_PATIENT_TWICE", place=", ".join(ids[:_IDS_SHOWN]) + more)


def _first_of(places: list[str]) -> str:
    more = " | ..." if len(places) > _FILES_SHOWN else ""
    return " | ".join(places[:_FILES_SHOWN]) + more
