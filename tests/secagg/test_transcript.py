"""The protocol's bytes are frozen: a change to any message or mask shows here."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.secagg.recorded_round import DROPOUT, SITES, play, recorded_kems
from tests.secagg_federation import make_federation


@pytest.fixture(scope="module")
def recorded(project_root: Path) -> dict[str, Any]:
    text = (project_root / "tests" / "vectors" / "secagg_transcript.json").read_text()
    return json.loads(text)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def played(recorded: dict[str, Any]) -> dict[str, Any]:
    return play(recorded_kems(recorded["kem"]))


def test_every_message_has_the_bytes_that_were_recorded(
    recorded: dict[str, Any], played: dict[str, Any]
) -> None:
    assert played["messages"] == recorded["messages"]
    assert played["abandonment"] == recorded["abandonment"]


def test_every_masked_vector_has_the_words_that_were_recorded(
    recorded: dict[str, Any], played: dict[str, Any]
) -> None:
    assert played["masked"] == recorded["masked"]


def test_the_recorded_sum_is_that_of_the_survivors(recorded: dict[str, Any]) -> None:
    federation = make_federation(len(SITES), num_words=6, num_lane=2)
    words, lane = federation.plain_totals(site for site in SITES if site != DROPOUT)
    assert recorded["sum"] == {"words": words.tolist(), "lane": lane.tolist()}


def test_the_record_has_every_kind_of_message(recorded: dict[str, Any]) -> None:
    kinds = {name.rsplit(" ", 1)[0] for name in recorded["messages"]}
    assert kinds == {
        "keys",
        "share request",
        "share answer",
        "mask request",
        "confirmed in advance",
        "confirm request",
        "confirm answer",
        "unmask request",
        "unmask answer",
    }
