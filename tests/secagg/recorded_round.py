"""A round of five sites with one dropout whose every byte is recorded.

    python -m tests.secagg.recorded_round > tests/vectors/secagg_transcript.json

writes the record anew. Do so only where the protocol changed on purpose: sites of the version
before would no longer understand those of this one.
"""

import base64
import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from tests.secagg_federation import (
    RecordedKem,
    RecordingKem,
    make_federation,
    site_names,
)

from fedward_common.crypto.key_agreement import Kem
from fedward_common.identities import SiteId
from fedward_server import secagg_coordinator as coordinator

NUM_SITES = 5
SITES = site_names(NUM_SITES)
DROPOUT = SITES[1]


def play(kems: Mapping[SiteId, Kem]) -> dict[str, Any]:
    """Play the round, and give the hash of each message, all masked vectors, and the sum."""
    federation = make_federation(NUM_SITES, num_words=6, num_lane=2, kems=kems)
    survivors = [site for site in SITES if site != DROPOUT]
    messages: dict[str, bytes] = {}

    def record(step: str, site: SiteId, message: bytes) -> bytes:
        messages[f"{step} {site}"] = message
        return message

    federation.tamper = record
    federation.begin()
    federation.share()
    for site, request in coordinator.mask_requests(federation.attempt).items():
        record("mask request", site, request)
        federation.masked[site] = federation.mask_one(site, request)
    # All have masked, then the vector of one is lost.
    federation.attempt = coordinator.fix_survivors(federation.attempt, survivors)
    federation.confirm()
    federation.unmask()
    words, lane = federation.totals()
    abandonment = federation.abandon_one(DROPOUT)
    return {
        "messages": {
            name: hashlib.sha256(message).hexdigest() for name, message in messages.items()
        },
        "abandonment": hashlib.sha256(abandonment).hexdigest(),
        "masked": {
            site: {"words": masked[0].tolist(), "lane": masked[1].tolist()}
            for site, masked in federation.masked.items()
        },
        "sum": {"words": words.tolist(), "lane": lane.tolist()},
    }


def recorded_kems(recorded: Mapping[str, list[dict[str, str]]]) -> dict[SiteId, Kem]:
    """The KEMs that give again what was recorded."""
    return {
        SiteId(site): RecordedKem(
            (base64.b64decode(item["ciphertext"]), bytes.fromhex(item["secret"])) for item in made
        )
        for site, made in recorded.items()
    }


def main() -> None:
    """Record a round, and print it."""
    kems = {site: RecordingKem() for site in SITES}
    played = play(dict(kems))
    made = {
        site: [
            {"ciphertext": base64.b64encode(c).decode(), "secret": s.reveal().hex()}
            for c, s in kem.made
        ]
        for site, kem in kems.items()
    }
    record = {
        "source": "python -m tests.secagg.recorded_round; entropy from SeededEntropy, SHAKE-256",
        "kem": made,
        **played,
    }
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
