"""Every message of a masked round is delivered to a hospital again: at once, when the round is
over, when its coordinator gave the attempt up, and when the next round has begun."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.refused_requests import state_of
from tests.attacks.secure_aggregation.asked_hospitals import Hospitals, code_of
from tests.client.daemon.asked_site import Answered

from fedward_client.daemon.site_state import open_site
from fedward_common.identities import SiteId
from fedward_common.secagg.messages import encode_abandonments
from fedward_common.wire import messages

BIRCH = SiteId("birch")
STEPS = ("train.round", "query.share", "query.mask", "query.confirm", "query.unmask")


@dataclass(frozen=True)
class Said:
    """A message to the hospital, and what it answered first."""

    words: tuple[Any, ...]
    more: dict[str, Any]
    answered: Answered


@pytest.fixture
def home(hospitals: Hospitals) -> Path:
    """Of a hospital that notes what is repeated; a simulated one does not."""
    folder = hospitals.home(BIRCH)
    open_site(folder).is_simulated = False
    return folder


def whole_round(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch, each: Callable[[Said], None]
) -> None:
    """Play a round, with a call after each answer of the hospital."""
    ask = Hospitals.ask

    def watched(self: Hospitals, site: SiteId, *words: Any, **more: Any) -> Answered:
        answered = ask(self, site, *words, **more)
        if site == BIRCH:
            with monkeypatch.context() as unwatched:
                unwatched.setattr(Hospitals, "ask", ask)
                each(Said(words, more, answered))
        return answered

    with monkeypatch.context() as patch:
        patch.setattr(Hospitals, "ask", watched)
        hospitals.whole_round()


def code_of_the_same_again(hospitals: Hospitals, home: Path, said: Said) -> str:
    """Deliver a message again; it is answered alike or refused, and both is written down."""
    before, entries = state_of(home), len(hospitals.audit_of(BIRCH))
    again = hospitals.ask(BIRCH, *said.words, **said.more)
    new = [entry["code"] for entry in hospitals.audit_of(BIRCH)[entries:]]
    code = code_of(again)
    assert new == (["REPLAY", code] if code else ["REPLAY"]), said.words
    if not code:
        assert again.message == said.answered.message
        assert again.arrays.keys() == said.answered.arrays.keys()
        for name, array in said.answered.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], array)
    assert state_of(home) == before
    return code


def test_each_that_comes_again_at_once_is_answered_alike_and_written_down(
    hospitals: Hospitals, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[tuple[str, str]] = []

    def deliver_again(said: Said) -> None:
        codes.append((said.words[0], code_of_the_same_again(hospitals, home, said)))

    whole_round(hospitals, monkeypatch, deliver_again)
    assert codes == [(step, "") for step in STEPS]


@pytest.mark.parametrize(
    ("has_next", "expected"),
    [
        (False, ("", "", "SECAGG_CLOSED", "", "")),
        (True, ("SECAGG_ROUND_OLD", *["SECAGG_CLOSED"] * 4)),
    ],
    ids=["the round is over", "the next has begun"],
)
def test_each_that_comes_again_later_is_answered_alike_or_refused_and_written_down(
    hospitals: Hospitals,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_next: bool,
    expected: tuple[str, ...],
) -> None:
    round_said: list[Said] = []
    whole_round(hospitals, monkeypatch, round_said.append)
    assert [said.words[0] for said in round_said] == list(STEPS)
    if has_next:
        hospitals.number = 2
        hospitals.all_ready()
        hospitals.number = 1
    codes = [code_of_the_same_again(hospitals, home, said) for said in round_said]
    assert codes == list(expected)


def test_an_attempt_that_is_given_up_is_given_up_alike_however_often_that_is_asked(
    hospitals: Hospitals, home: Path
) -> None:
    hospitals.all_share(hospitals.all_ready())
    signed = {site: abandoned_at(hospitals, site).body for site in hospitals.sites}
    told = encode_abandonments(list(signed.values()))
    first = hospitals.step(BIRCH, "abandoned", told).message
    assert first == messages.SecureStepReply("abandoned", b"")
    before, entries = state_of(home), len(hospitals.audit_of(BIRCH))
    assert abandoned_at(hospitals, BIRCH).body == signed[BIRCH]
    assert hospitals.step(BIRCH, "abandoned", told).message == first
    assert state_of(home) == before
    new = [(entry["step"], entry["code"]) for entry in hospitals.audit_of(BIRCH)[entries:]]
    assert new == [("abandon", "REPLAY"), ("abandoned", "REPLAY")]


def abandoned_at(hospitals: Hospitals, site: SiteId) -> messages.SecureStepReply:
    reply = hospitals.step(site, "abandon").message
    assert isinstance(reply, messages.SecureStepReply)
    return reply
