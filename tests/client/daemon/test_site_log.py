"""`site.log` of a home is lines of JSON."""

import json

from tests.client.daemon.asked_site import SITE, Coordinator


def test_each_line_has_its_time_its_level_and_its_code(accepted: Coordinator) -> None:
    subject = accepted.subject(1, run="another", manifest_sha256="00" * 32)
    accepted.train(subject=subject)
    lines = (accepted.federation.homes[SITE] / "site.log").read_text().splitlines()
    line = json.loads(lines[-1])
    assert line["time"].startswith("20")
    assert (line["level"], line["event"]) == ("warning", "site.noted")
    assert "UNKNOWN_RUN" in line["text"]
