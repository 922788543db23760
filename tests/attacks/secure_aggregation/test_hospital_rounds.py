"""A coordinator asks hospitals for rounds, attempts and purposes that are not next."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.secure_aggregation.asked_hospitals import Hospitals, code_of

from fedward_client import secagg_member
from fedward_client.daemon import secure_rounds
from fedward_client.daemon.site_state import forget_open_sites
from fedward_client.secagg_member import Stage
from fedward_client.site_policy import SitePolicy
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import DiskFullError
from fedward_common.identities import SiteId
from fedward_common.round_vault import RoundVault
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    Abandonment,
    Confirmation,
    ConfirmRequest,
    RoundKeys,
    ShareRequest,
    Signed,
    decode,
    encode,
    encode_abandonments,
)
from fedward_common.secagg.signed_items import sign_item
from fedward_common.wire import messages
from fedward_common.wire.canonical_cbor import encode_canonically
from fedward_server import secagg_coordinator as machine

ALDER, BIRCH, CEDAR = SiteId("alder"), SiteId("birch"), SiteId("cedar")


def audited(hospitals: Hospitals, site: SiteId, step: str, code: str) -> bool:
    """Whether the site's last line says so."""
    last = hospitals.audit_of(site)[-1]
    return (last["step"], last["code"]) == (step, code)


def test_a_round_that_cannot_be_done_does_not_open_a_lower_one_again(hospitals: Hospitals) -> None:
    """The update of round 1 is known in one sum; in a sum without one site it would show that."""
    hospitals.whole_round()
    hospitals.number = 2
    assert code_of(hospitals.ready(BIRCH, {})) == "WEIGHTS_MISMATCH"

    hospitals.number, hospitals.attempt = 1, 1
    answered = hospitals.ready(BIRCH)

    assert code_of(answered) == codes.ROUND_OLD
    assert audited(hospitals, BIRCH, "ready", codes.ROUND_OLD)


def test_a_crash_in_training_does_not_open_a_lower_round_again(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospitals.whole_round()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(secure_rounds, "_encoded", killed)
        hospitals.number = 2
        with pytest.raises(KeyboardInterrupt):
            hospitals.ready(BIRCH)
    forget_open_sites()
    hospitals.number, hospitals.attempt = 1, 1

    assert code_of(hospitals.ready(BIRCH)) == codes.ROUND_OLD


def test_a_lower_round_is_refused_and_the_present_one_goes_on(hospitals: Hospitals) -> None:
    hospitals.number = 2
    state = hospitals.all_share(hospitals.all_ready())
    hospitals.number = 1
    assert code_of(hospitals.ready(BIRCH)) == codes.ROUND_OLD
    assert code_of(hospitals.step(BIRCH, "abandon")) == codes.CLOSED

    hospitals.number = 2
    hospitals.all_unmask(hospitals.all_confirm(hospitals.all_mask(state)))


def test_two_requests_at_once_are_answered_one_after_the_other(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that both read "masked" would sign two lists of survivors."""
    state = hospitals.all_mask(hospitals.all_share(hospitals.all_ready()))
    run = hospitals.home(BIRCH) / "runs" / hospitals.setup.manifest.run
    confirm = secagg_member.confirm
    was_held: list[bool] = []

    def confirm_watched(*arguments: Any) -> Any:
        was_held.append(is_held(run / ".secure.lock"))
        return confirm(*arguments)

    monkeypatch.setattr(secagg_member, "confirm", confirm_watched)
    hospitals.step(BIRCH, "confirm", machine.confirm_request(state))

    assert was_held == [True]


def test_a_second_ready_does_not_train_beside_the_first(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = hospitals.home(BIRCH) / "runs" / hospitals.setup.manifest.run
    encoded = secure_rounds._encoded
    was_held: list[bool] = []

    def encoded_watched(*arguments: Any) -> Any:
        was_held.append(is_held(run / ".secure.lock"))
        return encoded(*arguments)

    monkeypatch.setattr(secure_rounds, "_encoded", encoded_watched)
    hospitals.ready(BIRCH)

    assert was_held == [True]


def is_held(lock: Path) -> bool:
    """Whether another opening of the file would have to wait."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_rubbish_instead_of_abandonments_is_refused_and_not_kept(hospitals: Hospitals) -> None:
    """Kept, it would fill the hospital's disk and spoil the next attempt."""
    hospitals.all_share(hospitals.all_ready())
    own = hospitals.binding.sha256
    forged = encode(sign_item(Abandonment(CEDAR, own), hospitals.setup.key))
    stranger = encode(sign_item(Abandonment("nobody", own), hospitals.setup.key))
    rubbish = {
        b"\x00": "MALFORMED_MESSAGE",
        encode_abandonments([b"rubbish"]): "MALFORMED_MESSAGE",
        encode_abandonments([forged]): codes.BAD_SIGNATURE,
        encode_abandonments([stranger]): codes.FOREIGN_KEY,
    }
    for body, code in rubbish.items():
        assert code_of(hospitals.step(BIRCH, "abandoned", body)) == code
        assert audited(hospitals, BIRCH, "abandoned", code)

    run = hospitals.home(BIRCH) / "runs" / hospitals.setup.manifest.run
    assert not list(run.rglob("abandonments-*"))
    hospitals.attempt = 1
    assert code_of(hospitals.ready(BIRCH)) == ""


def test_an_abandonment_is_kept_once_however_often_it_comes(hospitals: Hospitals) -> None:
    hospitals.all_ready()
    signed = hospitals.step(CEDAR, "abandon").message
    assert isinstance(signed, messages.SecureStepReply)
    run = hospitals.home(BIRCH) / "runs" / hospitals.setup.manifest.run
    for count in (1, 1, 3):
        hospitals.step(BIRCH, "abandoned", encode_abandonments([signed.body] * count))
    (kept,) = run.rglob("abandonments-*")
    assert kept.read_bytes() == encode_abandonments([signed.body])


def test_other_weights_for_an_attempt_that_is_ready_are_refused(hospitals: Hospitals) -> None:
    hospitals.ready(BIRCH)
    before = hospitals.state_of(BIRCH)
    other = {messages.WEIGHTS: hospitals.vectors[messages.WEIGHTS] + np.float32(1)}
    for attempt in (0, 1):
        hospitals.attempt = attempt
        assert code_of(hospitals.ready(BIRCH, other)) == codes.WEIGHTS_DIFFER
        assert audited(hospitals, BIRCH, "ready", codes.WEIGHTS_DIFFER)
    assert hospitals.state_of(BIRCH) == before


@pytest.mark.parametrize("stage", [Stage.READY, Stage.MASKED])
def test_one_update_is_never_masked_in_two_layouts(hospitals: Hospitals, stage: Stage) -> None:
    """With sums of an evaluation the lane is longer; the words would be the same."""
    state = hospitals.all_ready()
    if stage is Stage.MASKED:
        hospitals.all_mask(hospitals.all_share(state))
    before = hospitals.state_of(BIRCH)
    hospitals.evaluate = True
    for attempt in (0, 1):
        hospitals.attempt = attempt
        assert code_of(hospitals.ready(BIRCH)) == codes.CODEC_DIFFERS
    assert hospitals.state_of(BIRCH) == before


def test_hospitals_that_were_told_to_evaluate_do_not_mask_with_those_that_were_not(
    hospitals: Hospitals,
) -> None:
    keys = {}
    for site, evaluate in ((ALDER, False), (BIRCH, False), (CEDAR, True)):
        hospitals.evaluate = evaluate
        ready = hospitals.ready(site).message
        assert isinstance(ready, messages.SecureReady)
        keys[site] = ready.keys
    directory = directory_of(keys)

    assert code_of(hospitals.step(BIRCH, "share", directory)) == codes.CODEC_DIFFERS
    assert code_of(hospitals.step(CEDAR, "share", directory)) == codes.CODEC_DIFFERS
    assert audited(hospitals, CEDAR, "share", codes.CODEC_DIFFERS)


def directory_of(keys: dict[SiteId, bytes]) -> bytes:
    return encode(ShareRequest(tuple(decode(Signed, keys[site]) for site in sorted(keys))))


def test_keys_of_one_purpose_are_not_taken_for_another(hospitals: Hospitals) -> None:
    hospitals.all_ready()
    of_training = dict(hospitals.keys)
    hospitals.purpose = "validation"
    hospitals.all_ready()
    mixed = of_training | {BIRCH: hospitals.keys[BIRCH]}

    assert code_of(hospitals.step(BIRCH, "share", directory_of(mixed))) == codes.BINDING
    assert code_of(hospitals.step(ALDER, "share", directory_of(mixed))) == codes.KEYS_CHANGED
    hospitals.purpose = "train"
    assert code_of(hospitals.step(BIRCH, "share", directory_of(mixed))) == codes.KEYS_CHANGED
    assert code_of(hospitals.step(CEDAR, "share", directory_of(mixed))) == codes.BINDING


def test_a_step_is_not_answered_under_another_purpose(hospitals: Hospitals) -> None:
    state = hospitals.all_share(hospitals.all_ready())
    request = machine.mask_request(state, BIRCH)
    hospitals.purpose = "test"
    assert code_of(hospitals.step(BIRCH, "mask", request)) == codes.CLOSED


def test_a_purpose_is_no_path(hospitals: Hospitals) -> None:
    step = messages.SecureStep("share", "train", b"")
    for purpose in ("../train", "", "train/../../runs", 7, None):
        body = encode_canonically({"step": "share", "purpose": purpose, "body": b""})
        assert code_of(hospitals.ask(BIRCH, "query.share", step, body=body)) == "MALFORMED_MESSAGE"


def test_steps_of_another_attempt_are_refused(hospitals: Hospitals) -> None:
    state = hospitals.all_share(hospitals.all_ready())
    request = machine.mask_request(state, BIRCH)
    before = hospitals.state_of(BIRCH)
    hospitals.attempt = 1
    for step in ("share", "mask", "confirm", "unmask", "abandon", "abandoned"):
        assert code_of(hospitals.step(BIRCH, step, request)) == codes.BINDING
        assert audited(hospitals, BIRCH, step, codes.BINDING)
    assert hospitals.state_of(BIRCH) == before


def test_nothing_is_answered_in_a_round_that_was_never_begun(hospitals: Hospitals) -> None:
    for step in ("share", "mask", "confirm", "unmask", "abandon", "abandoned"):
        assert code_of(hospitals.step(BIRCH, step)) == codes.CLOSED
        assert audited(hospitals, BIRCH, step, codes.CLOSED)


def test_after_unmasking_nothing_else_is_masked_signed_or_revealed(hospitals: Hospitals) -> None:
    state = hospitals.whole_round()
    mask = machine.mask_request(state, BIRCH)
    others = encode(ConfirmRequest(state.directory.sha256, (ALDER, BIRCH), (CEDAR,)))

    assert code_of(hospitals.step(BIRCH, "mask", mask)) == codes.CLOSED
    assert code_of(hospitals.step(BIRCH, "confirm", others)) == codes.SECOND_REQUEST
    assert code_of(hospitals.step(BIRCH, "unmask", others)) == codes.SECOND_REQUEST
    assert code_of(hospitals.step(BIRCH, "abandon")) == codes.CLOSED
    hospitals.attempt = 1
    assert code_of(hospitals.ready(BIRCH)) == codes.CLOSED
    assert audited(hospitals, BIRCH, "ready", codes.CLOSED)


def test_a_masked_update_is_not_masked_again_without_enough_abandonments(
    hospitals: Hospitals,
) -> None:
    """Three sites mask; alone with one of them, the coordinator cannot go on with two attempts."""
    hospitals.all_mask(hospitals.all_share(hospitals.all_ready()))
    signed = hospitals.step(CEDAR, "abandon").message
    assert isinstance(signed, messages.SecureStepReply)
    before = hospitals.state_of(ALDER)

    hospitals.attempt = 1
    assert code_of(hospitals.ready(ALDER)) == codes.MASKED_BEFORE
    assert audited(hospitals, ALDER, "ready", codes.MASKED_BEFORE)
    hospitals.attempt = 0
    other = hospitals.binding.sha256.replace("0", "1")
    forged = encode(sign_item(Abandonment(CEDAR, other), hospitals.setup.key))
    assert code_of(hospitals.step(ALDER, "abandoned", encode_abandonments([forged])))
    hospitals.attempt = 1
    assert code_of(hospitals.ready(ALDER)) == codes.MASKED_BEFORE
    assert hospitals.state_of(ALDER) == before


def test_who_abandoned_signs_no_list_of_that_attempt(hospitals: Hospitals) -> None:
    state = hospitals.all_mask(hospitals.all_share(hospitals.all_ready()))
    hospitals.step(BIRCH, "abandon")
    assert code_of(hospitals.step(BIRCH, "confirm", machine.confirm_request(state))) == (
        codes.ABANDONED
    )
    assert audited(hospitals, BIRCH, "confirm", codes.ABANDONED)
    assert code_of(hospitals.step(BIRCH, "mask", machine.mask_request(state, BIRCH))) == (
        codes.ABANDONED
    )


def test_a_full_disk_lets_no_answer_out_that_is_not_remembered(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever fills a hospital's disk gets no signature that the hospital would give otherwise."""
    state = hospitals.all_mask(hospitals.all_share(hospitals.all_ready()))

    def full(self: RoundVault, name: str, content: bytes) -> None:
        raise DiskFullError("no space is left")

    with monkeypatch.context() as patch:
        patch.setattr(RoundVault, "append", full)
        assert code_of(hospitals.step(BIRCH, "confirm", machine.confirm_request(state))) == (
            "DISK_FULL"
        )
    masked = hospitals.state_of(BIRCH)
    assert masked is not None
    assert masked.stage is Stage.MASKED

    forget_open_sites()
    answered = hospitals.step(BIRCH, "confirm", machine.confirm_request(state)).message
    assert isinstance(answered, messages.SecureStepReply)
    assert decode(Confirmation, answered.body).site == BIRCH


def test_a_state_that_was_damaged_is_not_begun_anew(hospitals: Hospitals) -> None:
    hospitals.all_mask(hospitals.all_share(hospitals.all_ready()))
    run = hospitals.home(BIRCH) / "runs" / hospitals.setup.manifest.run
    (file,) = (run / "secure").glob("train-*/member.sealed")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    hospitals.attempt = 1

    assert code_of(hospitals.ready(BIRCH)) == "CORRUPT_FILE"


def test_a_hospital_is_not_alone_with_too_few_others(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own policy asks for three organisations, whatever the coordinator is content with."""
    monkeypatch.setattr(secure_rounds, "read_policy", lambda _: SitePolicy())
    state = hospitals.all_ready()
    two = {site: hospitals.keys[site] for site in (ALDER, BIRCH)}
    code = code_of(hospitals.step(BIRCH, "share", directory_of(two)))
    assert code == codes.TOO_FEW_ORGANISATIONS
    assert audited(hospitals, BIRCH, "share", code)
    hospitals.all_share(state)


def test_a_useless_key_in_the_directory_is_refused_and_written_down(hospitals: Hospitals) -> None:
    """An ally signs a key with which everybody could work out what it shares with another."""
    hospitals.all_ready()
    home = hospitals.home(CEDAR)
    ally = SigningKey.from_raw(bytes.fromhex((home / "trust" / "site.key").read_text()))
    keys = decode(RoundKeys, decode(Signed, hospitals.keys[CEDAR]).body)
    useless = replace(keys, mask_key=bytes(32) + keys.mask_key[32:])
    shown = hospitals.keys | {CEDAR: encode(sign_item(useless, ally))}

    assert code_of(hospitals.step(BIRCH, "share", directory_of(shown))) == "UNVERIFIED_MESSAGE"
    assert audited(hospitals, BIRCH, "share", "UNVERIFIED_MESSAGE")
    state = hospitals.state_of(BIRCH)
    assert state is not None
    assert state.stage is Stage.READY
