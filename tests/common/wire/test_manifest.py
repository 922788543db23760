import copy
import dataclasses
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_common.errors import MalformedMessageError
from fedward_common.job.job_file import Job, job_from_table, table_of_job
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.manifest import (
    Manifest,
    decode_manifest,
    encode_manifest,
    hash_of_manifest,
    make_manifest,
)
from fedward_common.wire.messages import PROTOCOL_VERSION

JOB: Job = job_from_table(
    {
        "job": {"name": "Найти пневмонию на рентгенограммах", "rounds": 5},
        "task": {
            "kind": "classification",
            "classes": [{"id": 0, "name": "normal"}, {"id": 1, "name": "pneumonia"}],
        },
        "model": {"name": "cnn", "options": {"width": 8}},
        "data": {"modality": "CR", "image_size": [16, 16]},
        "training": {"local_steps": 2, "sampling_rate": 0.1},
        "privacy": {"mechanism": "none"},
        "secure_aggregation": {"enabled": False},
    }
)


def manifest_of(job: Job = JOB, **values: Any) -> Manifest:
    settled: dict[str, Any] = {
        "consortium": "c",
        "run": "run-1",
        "coordinator": "coordinator",
        "seed": 7,
        "initial_weights_sha256": "a" * 64,
        "parameter_spec_sha256": "b" * 64,
        "num_parameters": 1234,
        "training_sites": ("alder", "birch"),
        "roster_version": 3,
        "roster_sha256": "e" * 64,
    }
    return make_manifest(job, **settled | values)


ENCODED = encode_manifest(manifest_of())


def changed(**values: Any) -> bytes:
    table = decode_canonically(ENCODED) | values
    return encode_canonically({k: v for k, v in table.items() if v is not ...})


@given(
    seed=st.integers(0, 2**63 - 1),
    run=st.text(max_size=30),
    sites=st.lists(st.text(max_size=10), max_size=5).map(tuple),
)
@settings(max_examples=40, deadline=None)
def test_a_manifest_comes_back_as_it_was(seed: int, run: str, sites: tuple[str, ...]) -> None:
    manifest = manifest_of(seed=seed, run=run, training_sites=sites)
    encoded = encode_manifest(manifest)
    assert decode_manifest(encoded) == manifest
    assert encode_manifest(decode_manifest(encoded)) == encoded
    assert decode_manifest(encoded).job == JOB


def test_every_key_of_the_job_is_written_out() -> None:
    assert decode_canonically(manifest_of().job_table) == table_of_job(JOB)
    assert decode_canonically(manifest_of().job_table)["strategy"]["name"] == "fedavg"


def test_the_hash_is_the_sha_256_of_the_bytes() -> None:
    assert hash_of_manifest(ENCODED) == hashlib.sha256(ENCODED).hexdigest()


def test_every_field_changes_the_hash() -> None:
    other: dict[str, Any] = {
        "consortium": "d",
        "run": "run-2",
        "coordinator": "other",
        "seed": 8,
        "initial_weights_sha256": "c" * 64,
        "parameter_spec_sha256": "d" * 64,
        "num_parameters": 1235,
        "training_sites": ("alder",),
        "roster_version": 4,
        "roster_sha256": "f" * 64,
    }
    job = dataclasses.replace(JOB, job=dataclasses.replace(JOB.job, rounds=6))
    encoded = [encode_manifest(manifest_of(**{name: value})) for name, value in other.items()]
    encoded += [ENCODED, encode_manifest(manifest_of(job))]
    assert len({hash_of_manifest(each) for each in encoded}) == len(other) + 2


def test_a_path_of_the_coordinators_disk_becomes_the_hash_of_the_weights() -> None:
    start = dataclasses.replace(JOB.model, start="/private/disk/model.safetensors")
    manifest = manifest_of(dataclasses.replace(JOB, model=start))
    assert manifest.job.model.start == f"sha256:{'a' * 64}"
    assert b"private" not in encode_manifest(manifest)


def test_a_random_start_stays_random() -> None:
    assert manifest_of().job.model.start == "random"


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Manifest)])
def test_a_manifest_without_a_field_is_refused(field: str) -> None:
    with pytest.raises(MalformedMessageError, match="missing"):
        decode_manifest(changed(**{field: ...}))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("protocol", "1"),
        ("consortium", b"c"),
        ("run", 1),
        ("coordinator", None),
        ("job_table", {}),
        ("job_table", "text"),
        ("seed", True),
        ("seed", 2**63),
        ("seed", 1.0),
        ("num_parameters", "1234"),
        ("training_sites", "alder"),
        ("training_sites", ["alder", 1]),
        ("training_sites", {"alder": "birch"}),
        ("roster_version", "3"),
        ("roster_sha256", b"e"),
        ("suite", 1),
    ],
)
def test_a_field_of_a_wrong_type_is_refused(field: str, wrong: Any) -> None:
    with pytest.raises(MalformedMessageError, match=field):
        decode_manifest(changed(**{field: wrong}))


def test_a_field_more_is_refused() -> None:
    with pytest.raises(MalformedMessageError, match="unknown key 'wheel'"):
        decode_manifest(changed(wheel="https://"))


@pytest.mark.parametrize("protocol", [0, -1, PROTOCOL_VERSION + 1, 2**62])
def test_a_manifest_of_another_protocol_is_refused_by_a_code_of_its_own(protocol: int) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode_manifest(changed(protocol=protocol))
    assert caught.value.code == ("PROTOCOL_TOO_NEW" if protocol > 1 else "PROTOCOL_TOO_OLD")


def test_the_suite_is_written_out() -> None:
    assert manifest_of().suite == "S1"


@pytest.mark.parametrize("suite", ["", "S0", "S2", "s1", "S1,S0"])
def test_a_manifest_of_another_suite_is_refused_by_a_code_of_its_own(suite: str) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode_manifest(changed(suite=suite))
    assert caught.value.code == "SECAGG_SUITE"


@pytest.mark.parametrize("step", range(0, len(ENCODED), 23))
def test_a_manifest_cut_anywhere_is_refused(step: int) -> None:
    with pytest.raises(MalformedMessageError):
        decode_manifest(ENCODED[:step])


@pytest.mark.parametrize("position", range(0, len(ENCODED), 29))
def test_a_changed_byte_is_refused_or_changes_the_hash_and_the_manifest(position: int) -> None:
    tampered = bytearray(ENCODED)
    tampered[position] ^= 0x04
    try:
        manifest = decode_manifest(bytes(tampered))
    except MalformedMessageError:
        return
    assert manifest != manifest_of()
    assert hash_of_manifest(bytes(tampered)) != hash_of_manifest(ENCODED)


def job_table(**sections: dict[str, Any]) -> bytes:
    table = copy.deepcopy(table_of_job(JOB))
    for name, values in sections.items():
        table[name].update(values)
    return encode_canonically(table)


@pytest.mark.parametrize(
    ("table", "code"),
    [
        (job_table(job={"rounds": 0}), "CONFIGURATION"),
        (job_table(job={"code": "import os"}), "CONFIGURATION"),
        (job_table(privacy={"mechanism": "joint"}), "CONFIGURATION"),
        (job_table(secure_aggregation={"enabled": 1}), "CONFIGURATION"),
        (encode_canonically([]), "CONFIGURATION"),
        (b"\xff", "MALFORMED_MESSAGE"),
        (b"", "MALFORMED_MESSAGE"),
    ],
)
def test_a_manifest_of_an_unusable_job_says_so_by_its_code(table: bytes, code: str) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        _ = decode_manifest(changed(job_table=table)).job
    assert caught.value.code == code
