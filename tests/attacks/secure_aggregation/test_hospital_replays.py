"""Every message of a masked round is delivered to a hospital again: at once, when its coordinator
gave the attempt up, and when the next round has begun."""

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


def test_each_is_answered_alike_or_refused_and_written_down_and_nothing_changes(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[tuple[Any, ...], dict[str, Any], Answered]] = []
    ask = Hospitals.ask

    def recorded(self: Hospitals, site: SiteId, *words: Any, **more: Any) -> Answered:
        answered = ask(self, site, *words, **more)
        if site == BIRCH:
            said.append((words, more, answered))
        return answered

    home = hospitals.home(BIRCH)
    open_site(home).is_simulated = False
    with monkeypatch.context() as patch:
        patch.setattr(Hospitals, "ask", recorded)
        hospitals.whole_round()
    hospitals.number = 2
    hospitals.all_ready()
    hospitals.number = 1
    before, codes = state_of(home), []
    for words, more, first in said:
        entries = len(hospitals.audit_of(BIRCH))
        again = hospitals.ask(BIRCH, *words, **more)
        new = [entry["code"] for entry in hospitals.audit_of(BIRCH)[entries:]]
        codes.append(code_of(again))
        if codes[-1]:
            assert new == ["REPLAY", *codes[-1:]], words
        else:
            assert (again.message, new) == (first.message, ["REPLAY"]), words
            for name, array in first.arrays.items():
                np.testing.assert_array_equal(again.arrays[name], array)
    assert [words[0] for words, *_ in said] == [
        "train.round", "query.share", "query.mask", "query.confirm", "query.unmask",
    ]  # fmt: skip
    assert state_of(home) == before
    assert codes[0] == "SECAGG_ROUND_OLD"


def test_an_attempt_that_is_given_up_is_given_up_alike_however_often_that_is_asked(
    hospitals: Hospitals,
) -> None:
    home = hospitals.home(BIRCH)
    open_site(home).is_simulated = False
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
