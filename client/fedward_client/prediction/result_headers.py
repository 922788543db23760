"""What both kinds of results say about themselves, and where they take patient and study from.

A result carries the source's patient and study, as it must to be filed with them in the archive;
it is meant for that archive and for no export. It says in words that it is for research.
"""

import hashlib
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward_client.dicom.bounded_reading import read_header
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.prediction.trained_model import TrainedModel
from fedward_common.dicom_writing.headers import UTF_8, Equipment
from fedward_common.job.job_file import TaskClass

if TYPE_CHECKING:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.sr import CodedConcept

STATEMENT = "For research use only. Not for clinical use."
MANUFACTURER = "Fedward"
SERIES_NUMBER = 9000
PRIVATE_SCHEME = "99FEDWARD"

# PS3.3: type 2, so a file may not lack them, and real ones do
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_CODE = re.compile(r"\[(SCT|DCM|FMA|UMLS|RADLEX|NCIt):([A-Za-z0-9._-]{1,16})\]")
_MAX_MEANING = 64
_CODE_DIGITS = 16


def equipment_of(model: TrainedModel) -> Equipment:
    """Name the model as the device."""
    software = f"fedward {version('fedward')}"
    return Equipment(MANUFACTURER, model.name, software, serial_number=model.sha256)


def source_headers(images: Sequence[InstanceFacts]) -> list[Any]:
    """Read the headers that a result refers to.

    Elements that may be empty are there, and text is Unicode: a class's name may have letters that
    the source's character set lacks, and highdicom refuses some sets that are in use.

    Raises:
        UnusableCaseError: One cannot be read any more.
    """
    headers = [read_header(Path(one.locator)) for one in images]
    for header in headers:
        header.decode()
        header.SpecificCharacterSet = UTF_8
        for keyword in _MAY_BE_EMPTY:
            if keyword not in header:
                setattr(header, keyword, "")
    return headers


def algorithm_of(model: TrainedModel) -> "AlgorithmIdentificationSequence":
    """Name the model as an algorithm: its architecture, and the hash of its weights."""
    from highdicom import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    return AlgorithmIdentificationSequence(
        name=model.name,
        family=codes.DCM.ArtificialIntelligence,
        version=model.sha256,
        source=MANUFACTURER,
        parameters={"use": STATEMENT},
    )


def code_of_class(one: TaskClass) -> "CodedConcept":
    """Give a class's code.

    A definition may name one in brackets, such as `[SCT:102297006]`; else the code is private to
    Fedward and the class's name is its meaning.
    """
    from highdicom.sr import CodedConcept

    meaning = one.name[:_MAX_MEANING]
    named = _CODE.search(one.definition)
    if named is not None:
        return CodedConcept(value=named[2], scheme_designator=named[1], meaning=meaning)
    digits = hashlib.sha256(one.name.encode()).hexdigest()[:_CODE_DIGITS]
    return CodedConcept(value=digits, scheme_designator=PRIVATE_SCHEME, meaning=meaning)
