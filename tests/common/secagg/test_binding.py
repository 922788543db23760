"""Every field of a binding counts, and none of them takes what it should not."""

import dataclasses

import pytest

from fedward_common.errors import ConfigurationError
from fedward_common.secagg.binding import RoundBinding, weights_sha256_of

BINDING = RoundBinding(
    consortium="example",
    run="run-1",
    purpose="train",
    round=4,
    attempt=0,
    manifest_sha256="aa" * 32,
    roster_version=3,
    roster_sha256="bb" * 32,
    weights_sha256="cc" * 32,
    codec_sha256="dd" * 32,
    suite="S1",
)

OTHER_VALUES = [
    ("consortium", "other"),
    ("run", "run-2"),
    ("purpose", "validation"),
    ("round", 5),
    ("attempt", 1),
    ("manifest_sha256", "ab" * 32),
    ("roster_version", 4),
    ("roster_sha256", "ab" * 32),
    ("weights_sha256", "ab" * 32),
    ("codec_sha256", "ab" * 32),
    ("suite", "S2"),
]


def test_each_field_stands_in_the_list_of_this_test() -> None:
    assert [name for name, _ in OTHER_VALUES] == [f.name for f in dataclasses.fields(RoundBinding)]


def test_the_hash_is_that_of_the_fields_alone_and_never_changes() -> None:
    """Every key of an attempt is derived from it, on both sides of a release."""
    fields = {f.name: getattr(BINDING, f.name) for f in dataclasses.fields(RoundBinding)}
    assert BINDING.to_plain() == fields
    assert BINDING.sha256 == "daf7dce4ac61322f135ece3f79b9acc1673e6f7ff8a20f1630daa5032001d368"


@pytest.mark.parametrize(("field", "value"), OTHER_VALUES)
def test_another_value_of_any_field_gives_another_hash(field: str, value: object) -> None:
    other = dataclasses.replace(BINDING, **{field: value})  # type: ignore[arg-type]
    assert other.sha256 != BINDING.sha256
    assert other != BINDING


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("consortium", ""),
        ("run", "r" * 129),
        ("suite", ""),
        ("round", -1),
        ("attempt", -1),
        ("roster_version", 0),
        ("manifest_sha256", ""),
        ("roster_sha256", "AA" * 32),
        ("weights_sha256", "aa" * 31),
        ("codec_sha256", "aa" * 32 + "\n"),
    ],
)
def test_an_unusable_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=field):
        dataclasses.replace(BINDING, **{field: value})  # type: ignore[arg-type]


def test_the_hash_of_the_weights_is_that_of_all_that_came_beside_the_request() -> None:
    one = {"weights": "aa", "control-variate": "bb"}
    assert weights_sha256_of(one) == weights_sha256_of(dict(reversed(one.items())))
    others = [{"weights": "aa"}, {"weights": "bb", "control-variate": "aa"}, {}]
    assert len({weights_sha256_of(hashes) for hashes in [one, *others]}) == 4
