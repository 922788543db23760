"""Vectors that only the coordinator opens, beside the one request they answer."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.crypto.key_agreement import HybridPrivateKey, SystemKem
from fedward_common.crypto.sealing import seal_to
from fedward_common.errors import FedwardError, MalformedMessageError, UnverifiedMessageError
from fedward_common.wire.canonical_cbor import encode_canonically
from fedward_common.wire.envelope import WireArray
from fedward_common.wire.sealed_answers import SEALED, SealedFor, open_arrays, seal_arrays

KEY = HybridPrivateKey.generate(os.urandom)
ASKED = SealedFor("ab" * 32, "birch")
VECTORS: dict[str, WireArray] = {
    "update": np.arange(5, dtype=np.float32),
    "sums": np.array([[1, -(2**62)], [3, 4]], dtype=np.int64),
    "nothing": np.empty(0, dtype=np.uint8),
}


def sealed(arrays: Mapping[str, WireArray] = VECTORS) -> dict[str, WireArray]:
    return seal_arrays(arrays, KEY.public, ASKED, entropy=os.urandom, kem=SystemKem())


def test_what_was_sealed_is_opened_as_it_was() -> None:
    box = sealed()
    assert set(box) == {SEALED}
    opened = open_arrays(box, KEY, ASKED)
    assert set(opened) == set(VECTORS)
    for name, array in VECTORS.items():
        assert opened[name].dtype == array.dtype
        np.testing.assert_array_equal(opened[name], array)


def test_an_answer_without_vectors_is_sealed_too() -> None:
    assert open_arrays(sealed({}), KEY, ASKED) == {}


def test_nothing_of_a_vector_stands_in_the_box_and_two_boxes_differ() -> None:
    vector = np.linspace(0, 1, 1000, dtype=np.float32)
    boxes = [sealed({"update": vector})[SEALED].tobytes() for _ in range(2)]
    assert boxes[0] != boxes[1]
    assert not any(vector.tobytes()[at : at + 16] in boxes[0] for at in range(0, 3900, 100))


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        (HybridPrivateKey.generate(os.urandom), ASKED),
        (KEY, SealedFor("ac" * 32, "birch")),
        (KEY, SealedFor("ab" * 32, "cedar")),
    ],
    ids=["another key", "another request", "another site"],
)
def test_it_opens_for_nobody_else_and_answers_nothing_else(
    key: HybridPrivateKey, asked: SealedFor
) -> None:
    with pytest.raises(UnverifiedMessageError):
        open_arrays(sealed(), key, asked)


@given(at=st.integers(0, 1000), bit=st.integers(0, 7))
def test_a_bit_flip_anywhere_is_found(at: int, bit: int) -> None:
    box = sealed()[SEALED].copy()
    box[at % len(box)] ^= np.uint8(1 << bit)
    with pytest.raises(FedwardError):
        open_arrays({SEALED: box}, KEY, ASKED)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        VECTORS,
        {SEALED: np.zeros(9, dtype=np.uint8)},
        {SEALED: np.zeros(5000, dtype=np.int64)},
        {SEALED: np.zeros((50, 50), dtype=np.uint8)},
    ],
)
def test_what_is_no_sealed_answer_is_refused(arrays: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessageError):
        open_arrays(arrays, KEY, ASKED)


def boxed(head: Any, content: bytes) -> dict[str, WireArray]:
    """Seal any plaintext, as a site could that lies about its arrays."""
    encoded = encode_canonically(head)
    plaintext = len(encoded).to_bytes(4, "big") + encoded + content
    box = seal_to(
        KEY.public,
        plaintext,
        associated=ASKED.associated(),
        entropy=os.urandom,
        kem=SystemKem(),
    )
    return {SEALED: np.frombuffer(box, dtype=np.uint8)}


def array_of(**changes: Any) -> dict[str, Any]:
    return {"arrays": [{"name": "update", "dtype": "float32", "shape": [2]} | changes]}


LIES: dict[str, tuple[Any, bytes]] = {
    "too short": (array_of(), bytes(7)),
    "too long": (array_of(), bytes(9)),
    "huge": (array_of(shape=[2**62, 4]), bytes(8)),
    "negative": (array_of(shape=[-1]), bytes(8)),
    "other type": (array_of(dtype="object"), bytes(8)),
    "no name": ({"arrays": [{"dtype": "float32", "shape": [2]}]}, bytes(8)),
    "no arrays": ({}, b""),
}


@pytest.mark.parametrize(("head", "content"), LIES.values(), ids=LIES)
def test_a_box_whose_content_is_not_what_it_says_is_refused(head: Any, content: bytes) -> None:
    assert open_arrays(boxed(array_of(), bytes(8)), KEY, ASKED)["update"].tolist() == [0, 0]
    with pytest.raises(MalformedMessageError):
        open_arrays(boxed(head, content), KEY, ASKED)
