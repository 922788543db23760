"""What a site keeps of masked rounds, what it destroys, and what its policy refuses."""

from pathlib import Path
from typing import Any

import pytest
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.masked_federation import MASKED, SHORT, WatchedGrid, codes_of, restart_sites
from tests.tiny_federation import SITES, TinyFederation, make_federation

from fedward_client.secagg.member_state import MemberState, Stage
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import QuorumError
from fedward_common.wire import messages
from fedward_common.wire.canonical_cbor import encode_canonically


def secure_folder(federation: TinyFederation, run_folder: Path) -> Path:
    return federation.homes[SITE] / "runs" / federation.set_up(run_folder).manifest.run / "secure"


def masked_federation(folder: Path, policy: str) -> TinyFederation:
    """Three sites, of which one wrote `policy` into its file."""
    federation = make_federation(folder).with_job(*SHORT)
    (federation.homes[SITE] / "policy.toml").write_text(
        f"[privacy]\nunbounded_training = true\n[secure_aggregation]\n{policy}\n"
    )
    restart_sites()
    return federation


# -- what is kept ----------------------------------------------------------------------------------


def test_after_a_run_nothing_but_answers_of_the_last_rounds_is_left(
    tiny: TinyFederation, run_folder: Path
) -> None:
    federation = tiny.with_job(*SHORT)
    federation.run(run_folder)
    left = secure_folder(federation, run_folder)
    files = sorted(str(path.relative_to(left)) for path in left.rglob("*") if path.is_file())
    assert files == [
        "test-00000002/answers.cbor",
        "train-00000002/answers.cbor",
        "train-00000002/over",
        "validation-00000002/answers.cbor",
        "validation-00000002/over",
    ]
    for name in files:
        if name.endswith("over"):
            continue
        state = MemberState.from_secret(SecretBytes((left / name).read_bytes()))
        assert state.stage is Stage.UNMASKED
        assert state.secrets is None
        assert (left / name).stat().st_mode & 0o077 == 0


def test_a_round_under_way_holds_keys_and_its_contribution_sealed(
    tiny: TinyFederation, run_folder: Path
) -> None:
    federation = tiny.with_job(*SHORT)
    seen: list[set[str]] = []

    def look(passing: Any, message: object) -> None:
        if passing.kind == "query.mask" and passing.site == SITE:
            folder = secure_folder(federation, run_folder) / f"train-{passing.round:08d}"
            if folder.is_dir():
                seen.append({path.name for path in folder.iterdir()})

    federation.run(run_folder, grid=WatchedGrid(federation, before=look))
    assert {"round.key", "member.sealed", "contribution.sealed"} in seen


def test_a_higher_round_destroys_whatever_the_lower_one_left(
    tiny: TinyFederation, run_folder: Path
) -> None:
    """Birch shared in round 1 and was gone before the end, so nothing told it that it is over."""
    federation = tiny.with_job(MASKED, "quorum.attempts=2")
    folders: dict[int, set[str]] = {}

    def look(passing: Any, message: object) -> None:
        if passing.kind == "query.share" and passing.site == "cedar" and not passing.attempt > 1:
            root = secure_folder(federation, run_folder)
            folders[passing.round] = {path.name for path in root.glob("train-*")}

    faults = {str(SITE): "query.unmask:train/1/*=gone"}
    federation.run(run_folder, grid=WatchedGrid(federation, faults, before=look))
    assert folders[2] == {"train-00000002"}


# -- what is refused -------------------------------------------------------------------------------


@pytest.fixture
def asked(tiny: TinyFederation, tmp_path: Path) -> Coordinator:
    """The site after it accepted a masked run."""
    federation = tiny.with_job(*SHORT)
    setup = federation.set_up(tmp_path / "run")
    coordinator = Coordinator(federation, setup, setup.key)
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    return coordinator


def test_being_ready_gives_keys_and_nothing_else_and_the_same_ones_again(
    asked: Coordinator,
) -> None:
    first = asked.train()
    assert isinstance(first.message, messages.SecureReady)
    assert first.arrays == {}
    restart_sites()
    assert asked.train().message == first.message


def test_a_lower_round_is_refused_by_its_name(asked: Coordinator) -> None:
    assert isinstance(asked.train(subject=asked.subject(2)).message, messages.SecureReady)
    assert asked.train().message == messages.Refusal("SECAGG_ROUND_OLD")


def test_a_step_before_any_round_is_refused(asked: Coordinator) -> None:
    step = messages.SecureStep("share", "train", b"")
    assert asked.ask("query.share", step).message == messages.Refusal("SECAGG_CLOSED")


def test_a_step_of_another_attempt_is_refused(asked: Coordinator) -> None:
    asked.train()
    step = messages.SecureStep("share", "train", b"")
    answer = asked.ask("query.share", step, subject=asked.subject(attempt=2))
    assert answer.message == messages.Refusal("SECAGG_BINDING")


@pytest.mark.parametrize(
    "changes", [{"step": "reveal"}, {"purpose": "audit"}, {"purpose": "../../x"}, {"body": 1}]
)
def test_a_step_that_nobody_knows_is_refused_by_a_code(
    asked: Coordinator, changes: dict[str, object]
) -> None:
    asked.train()
    known = messages.SecureStep("share", "train", b"")
    body = encode_canonically({"step": "share", "purpose": "train", "body": b""} | changes)
    answer = asked.ask("query.share", known, body=body)
    assert answer.message == messages.Refusal("MALFORMED_MESSAGE")


def test_a_step_under_another_kind_of_message_is_refused(asked: Coordinator) -> None:
    asked.train()
    step = messages.SecureStep("share", "train", b"")
    assert asked.ask("query.unmask", step).message == messages.Refusal("UNEXPECTED_KIND")


def test_a_run_that_masks_nothing_has_no_steps(accepted: Coordinator) -> None:
    step = messages.SecureStep("share", "train", b"")
    assert accepted.ask("query.share", step).message == messages.Refusal("UNEXPECTED_KIND")


# -- the site's own policy -------------------------------------------------------------------------


def test_a_site_that_requires_masking_takes_no_job_without_it(tmp_path: Path) -> None:
    federation = masked_federation(tmp_path / "f", "required = true\nminimum_organisations = 1")
    open_job = federation.with_job("secure_aggregation.enabled=false")
    setup = open_job.set_up(tmp_path / "open")
    answer = Coordinator(open_job, setup, setup.key).propose()
    assert answer.message == messages.Refusal("SECURE_AGGREGATION_REQUIRED")
    federation.run(tmp_path / "masked")
    assert not codes_of(tmp_path / "masked")


def test_the_strict_policy_takes_three_organisations(tmp_path: Path) -> None:
    federation = masked_federation(tmp_path / "f", "required = true\nminimum_organisations = 3")
    history = federation.run(tmp_path / "run")
    assert history.participants == [list(SITES)] * 2


def test_a_site_that_wants_all_sites_of_a_run_is_in_no_sum_of_fewer(tmp_path: Path) -> None:
    federation = masked_federation(
        tmp_path / "f", "minimum_share = 1.0\nminimum_organisations = 1"
    ).with_job("quorum.minimum_share=0.1", "quorum.attempts=1")
    assert federation.run(tmp_path / "all").participants == [list(SITES)] * 2
    other = next(site for site in SITES if site != SITE)
    with pytest.raises(QuorumError, match="SECAGG_TOO_FEW_SITES"):
        federation.run(
            tmp_path / "fewer",
            client_app="tests.faulty_site:app",
            faults={other: "train.round/*/*=raise"},
        )


def test_a_site_that_wants_more_organisations_than_there_are_is_in_no_sum(tmp_path: Path) -> None:
    federation = masked_federation(tmp_path / "f", "minimum_organisations = 4")
    with pytest.raises(QuorumError, match="SECAGG_TOO_FEW_ORGANISATIONS"):
        federation.run(tmp_path / "run")
    assert {code for site, _, code in codes_of(tmp_path / "run") if site == SITE} == {
        "SECAGG_TOO_FEW_ORGANISATIONS"
    }
