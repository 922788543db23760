"""No two places of an attempt share a key."""

import dataclasses

import pytest

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import MalformedMessageError, UnverifiedMessageError
from fedward_common.identities import SiteId
from fedward_common.secagg.key_schedule import (
    KeyScope,
    RecoveryBlob,
    blob_bytes,
    commit_to_recovery,
    commit_to_self_mask,
    is_subtracted,
    open_blob,
    pair_mask_key,
    seal_associated,
    seal_blob,
    seal_key,
    self_mask_key,
)

A, B, C = SiteId("a"), SiteId("b"), SiteId("c")
SCOPE = KeyScope("aa" * 32, bytes(32))
OTHER_SCOPES = [
    dataclasses.replace(SCOPE, binding_sha256="ab" * 32),
    dataclasses.replace(SCOPE, directory_sha256=bytes(31) + b"\1"),
]
X, Y = SecretBytes(bytes(32)), SecretBytes(b"\1" * 32)


def test_every_place_has_a_key_of_its_own() -> None:
    keys = [
        seal_key(X, Y, SCOPE, sender=A, recipient=B, ciphertext=b"c"),
        seal_key(X, Y, SCOPE, sender=B, recipient=A, ciphertext=b"c"),
        seal_key(X, Y, SCOPE, sender=A, recipient=C, ciphertext=b"c"),
        seal_key(X, Y, SCOPE, sender=A, recipient=B, ciphertext=b"d"),
        seal_key(Y, X, SCOPE, sender=A, recipient=B, ciphertext=b"c"),
        pair_mask_key(X, Y, SCOPE, (A, B), ciphertext=b"c"),
        pair_mask_key(X, Y, SCOPE, (A, C), ciphertext=b"c"),
        pair_mask_key(X, Y, SCOPE, (A, B), ciphertext=b"d"),
        self_mask_key(X, SCOPE, A),
        self_mask_key(X, SCOPE, B),
        self_mask_key(Y, SCOPE, A),
        *(self_mask_key(X, scope, A) for scope in OTHER_SCOPES),
        *(pair_mask_key(X, Y, scope, (A, B), ciphertext=b"c") for scope in OTHER_SCOPES),
        *(seal_key(X, Y, scope, sender=A, recipient=B, ciphertext=b"c") for scope in OTHER_SCOPES),
    ]
    assert len({key.reveal() for key in keys}) == len(keys)


def test_a_pair_has_one_key_in_either_order_and_opposite_signs() -> None:
    assert pair_mask_key(X, Y, SCOPE, (A, B), ciphertext=b"c") == pair_mask_key(
        X, Y, SCOPE, (B, A), ciphertext=b"c"
    )
    assert is_subtracted(B, A) and not is_subtracted(A, B)


def test_commitments_to_the_two_secrets_differ() -> None:
    assert commit_to_self_mask(X) != commit_to_recovery(X)
    assert commit_to_self_mask(X) != commit_to_self_mask(Y)


def test_what_is_authenticated_names_both_sites_in_order() -> None:
    there = seal_associated(SCOPE, sender=A, recipient=B)
    back = seal_associated(SCOPE, sender=B, recipient=A)
    assert there != back


BLOB = RecoveryBlob(SecretBytes(bytes(range(96))), {B: X, C: Y})


def test_a_recovery_blob_comes_back_and_is_no_larger_than_said() -> None:
    sealed = seal_blob(BLOB, X, SCOPE, A)
    assert open_blob(sealed, X, SCOPE, A) == BLOB
    assert len(sealed) <= blob_bytes(2)


@pytest.mark.parametrize("num_later", [0, 1, 40, 511])
def test_a_recovery_blob_of_long_names_is_no_larger_than_said(num_later: int) -> None:
    secrets = {SiteId(f"s{number:047}"): X for number in range(num_later)}
    sealed = seal_blob(RecoveryBlob(BLOB.mask_private, secrets), X, SCOPE, A)
    assert len(sealed) <= blob_bytes(num_later)


def test_a_recovery_blob_opens_with_its_key_in_its_place_only() -> None:
    sealed = seal_blob(BLOB, X, SCOPE, A)
    for key, scope, site in ((Y, SCOPE, A), (X, SCOPE, B), *((X, s, A) for s in OTHER_SCOPES)):
        with pytest.raises(UnverifiedMessageError):
            open_blob(sealed, key, scope, site)


@pytest.mark.parametrize(
    "blob",
    [
        RecoveryBlob(SecretBytes(bytes(95)), {B: X}),
        RecoveryBlob(BLOB.mask_private, {B: SecretBytes(bytes(31))}),
    ],
)
def test_a_recovery_blob_with_secrets_of_other_lengths_is_refused(blob: RecoveryBlob) -> None:
    with pytest.raises(MalformedMessageError):
        open_blob(seal_blob(blob, X, SCOPE, A), X, SCOPE, A)
