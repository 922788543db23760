import pytest
from tests.common.dicom_writing.made_datasets import missing_attributes, one_of_each, read_back

KINDS = ("xray", "capture", "photograph", "ct", "mr", "seg", "enhanced")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_has_what_its_kind_must_have(kind: str) -> None:
    assert missing_attributes(read_back(one_of_each()[kind])) == []


def test_the_check_of_attributes_finds_a_missing_one() -> None:
    ds = one_of_each()["ct"]
    del ds.ImagePositionPatient
    ds.StudyInstanceUID = ""
    assert missing_attributes(ds) == [
        "general-study: StudyInstanceUID",
        "image-plane: ImagePositionPatient",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_says_that_no_text_is_in_it(kind: str) -> None:
    if kind != "seg":
        assert one_of_each()[kind].BurnedInAnnotation == "NO"
