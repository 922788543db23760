"""Lines between sites and coordinator that are cut, or carry other bytes than were sent."""

import hashlib
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_files
from flwr.supercore.fab import Fab
from tests.faulty_federation import FaultyFederation
from tests.faulty_network import until
from tests.masked_federation import FIVE_SITES

from fedward_server.coordinator import flower_control

JOB = (
    "job.rounds=2", "evaluation.every=2",
    "quorum.required_sites=5", "quorum.deadline_seconds=150",
)  # fmt: skip
CUT = ("alder", "birch", "cedar")


@pytest.mark.slow
def test_spoilt_bytes_cut_lines_and_a_bundle_with_code_change_no_weight(
    federation: FaultyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F24, F27, F36: what was spoilt is sent again, and who was cut off is there again."""
    undisturbed = federation.undisturbed("lines", *JOB)
    federation.lay_down("lines", *JOB)
    spoilt = federation.lines["birch"]
    spoilt.flip_a_byte()
    bundle = bundle_with_code(tmp_path / "canary")
    with monkeypatch.context() as patched:
        patched.setattr(flower_control, "_bundle", lambda: bundle)
        federation.order("lines")
    first = federation.came("round.committed", run="lines", round=1)
    assert (first["sites"], first["failures"]) == (list(FIVE_SITES), [])
    assert spoilt.num_flipped == 1

    for site in CUT:
        federation.lines[site].cut()
    cut = [federation.lines[site] for site in CUT]
    until(lambda: all(line.num_refused >= 2 for line in cut), "they find their lines cut")
    federation.heal()
    federation.came("run.finished", run="lines")
    assert federation.outcome("lines") == undisturbed
    assert not federation.codes("lines")
    for site in FIVE_SITES:
        assert "child.ended" not in federation.events_at(site)
    assert not (tmp_path / "canary").exists()


def bundle_with_code(canary: Path) -> Fab:
    """Pack a bundle whose modules, imported by anybody, would leave a file."""
    code = f"open({str(canary)!r}, 'w').write('imported')\n".encode()
    pointer = Path(flower_control.__file__).with_name("flower_pointer.toml").read_bytes()
    packages = ("fedward_client", "fedward_client/daemon", "fedward_server", "torch")
    names = [f"{package}/__init__.py" for package in packages]
    names += ["sitecustomize.py", "fedward_client/daemon/app.py"]
    content, _ = build_fab_from_files({"pyproject.toml": pointer} | dict.fromkeys(names, code))
    return Fab(hashlib.sha256(content).hexdigest(), content, {})
