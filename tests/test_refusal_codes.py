"""Whatever a site can refuse with, its operator and its coordinator can look up."""

import re
from pathlib import Path

from tests.refusal_codes import sent_codes

from fedward_client.daemon.audit import APP_RAISED
from fedward_server.reports.participation import code_meaning

_LINK = re.compile(r"\]\(([A-Z_]+\.md)[#)]")


def pages_for_operators(docs: Path) -> str:
    """Give the hospital's page, and those that it names."""
    own = (docs / "HOSPITAL.md").read_text(encoding="utf-8")
    named = {docs / name for name in _LINK.findall(own)}
    return own + "".join(page.read_text(encoding="utf-8") for page in sorted(named))


def test_the_codes_are_found_wherever_they_arise() -> None:
    found = sent_codes()
    assert len(found) >= 120
    assert {
        "INTERNAL_ERROR", "WAITING_FOR_APPROVAL", "SECAGG_BINDING", "SECAGG_ROSTER",
        "COORDINATOR_NOT_ALLOWED", "CERT_SIGNATURE", "ROSTER_OLD", "E_SERVER_UNREACHABLE",
        "OUT_OF_MEMORY", "DISK_FULL", "LEDGER_DAMAGED", "MALFORMED_MESSAGE",
    } <= found  # fmt: skip


def test_every_code_that_a_site_sends_has_a_line_for_whoever_runs_the_site(
    project_root: Path,
) -> None:
    written = pages_for_operators(project_root / "docs")
    sent = {*sent_codes(), APP_RAISED}
    missing = sorted(code for code in sent if f"`{code}`" not in written)
    assert missing == [], f"add a line to docs/HOSPITAL.md or a page that it names: {missing}"


def test_every_code_that_a_site_sends_is_explained_in_the_coordinators_report() -> None:
    sent = {*sent_codes(), APP_RAISED}
    missing = sorted(code for code in sent if not code_meaning(code))
    assert missing == [], f"add a meaning in reports/participation.py: {missing}"
