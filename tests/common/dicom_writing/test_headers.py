import pytest
from tests.common.dicom_writing.made_datasets import grey, made_series, read_back

from fedward_common.dicom_writing.headers import Equipment, Patient, age_in_years
from fedward_common.dicom_writing.identifiers import derived_uid
from fedward_common.dicom_writing.images import xray_image


@pytest.mark.parametrize(
    ("born", "today", "age"),
    [
        ("19600229", "20230228", 62),
        ("19600229", "20230301", 63),
        ("20210101", "20210101", 0),
        ("19991231", "20210101", 21),
    ],
)
def test_age_is_counted_in_whole_years(born: str, today: str, age: int) -> None:
    assert age_in_years(born, today) == age


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 192", "Phantom^Zoë"),
        ("ISO_IR 144", "Фантом^Пациент"),
        (("", "ISO 2022 IR 87"), "Phantom^Yamada=山田^太郎"),
        ("GB18030", "Phantom^Wang=王^小东"),
    ],
)
def test_a_name_in_any_character_set_is_read_back(
    character_set: str | tuple[str, ...], name: str
) -> None:
    patient = Patient("p-1", name, character_set=character_set)
    ds = xray_image(made_series(patient=patient), derived_uid(1), grey(4, 4))
    assert str(read_back(ds).PatientName) == name


def test_the_age_stands_in_the_header_only_where_the_birth_date_does() -> None:
    without = Patient("p-1", "Phantom^P")
    ds = xray_image(made_series(patient=without), derived_uid(1), grey(4, 4))
    assert "PatientAge" not in ds
    assert xray_image(made_series(), derived_uid(1), grey(4, 4)).PatientAge in ("061Y", "062Y")
    assert "0001" not in repr(without) + repr(made_series().patient)


def test_a_device_is_named_as_highdicom_asks_for_it() -> None:
    assert Equipment("Maker", "Model", "2", serial_number="abc").device == {
        "manufacturer": "Maker",
        "manufacturer_model_name": "Model",
        "software_versions": "2",
        "device_serial_number": "abc",
    }
