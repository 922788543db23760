"""Lines between sites and coordinator that are cut, or carry other bytes than were sent."""

import hashlib
import time
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_files
from flwr.supercore.fab import Fab
from tests.faulty_federation import FaultyFederation
from tests.faulty_network import until
from tests.masked_federation import FIVE_SITES, MASKED

from fedward_server.coordinator import flower_control

JOB = (
    "job.rounds=2", "evaluation.every=2",
    "quorum.required_sites=5", "quorum.deadline_seconds=150",
)  # fmt: skip
CUT = ("alder", "birch", "cedar")
CUT_SECONDS = 300.0


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


@pytest.mark.slow
def test_a_masked_run_waits_out_five_minutes_in_which_more_sites_are_cut_off_than_it_can_spare(
    federation: FaultyFederation,
) -> None:
    """F24: it pauses, says whom it waits for, and goes on by itself; no round is lost."""
    job = (MASKED, *JOB, "quorum.deadline_seconds=600")
    undisturbed = federation.undisturbed("cut", *job)
    federation.lay_down("cut", *job)
    federation.order("cut")
    federation.came("round.committed", run="cut", round=1)
    for site in CUT:
        federation.lines[site].cut()
    ends = time.monotonic() + CUT_SECONDS
    told = ", ".join(f"{site} (NODE_UNAVAILABLE)" for site in CUT)
    federation.came("run.note", run="cut", text=f"waiting for {told}")
    until(lambda: time.monotonic() >= ends, "the cut is over", 2 * CUT_SECONDS, every_seconds=1)
    assert "run.finished" not in federation.kinds("cut")
    federation.heal()
    healed = time.monotonic()
    federation.came("round.begins", run="cut", round=2, attempt=2)
    print(f"all were back {time.monotonic() - healed:.0f} s after the lines were")
    federation.came("run.finished", run="cut")
    print(f"the run ended {time.monotonic() - healed:.0f} s after")
    assert federation.outcome("cut") == undisturbed
    assert federation.codes("cut") == {(site, 2, "NODE_UNAVAILABLE") for site in CUT}
    assert not {kind for kind in federation.kinds("cut") if kind.endswith((".dropped", ".lost"))}
    for site in FIVE_SITES:
        assert federation.trained(site, "cut") == [1, 2]
        assert federation.refusals(site, "cut") == []


def bundle_with_code(canary: Path) -> Fab:
    """Pack a bundle whose modules, imported by anybody, would leave a file."""
    code = f"open({str(canary)!r}, 'w').write('imported')\n".encode()
    pointer = Path(flower_control.__file__).with_name("flower_pointer.toml").read_bytes()
    packages = ("fedward_client", "fedward_client/daemon", "fedward_server", "torch")
    names = [f"{package}/__init__.py" for package in packages]
    names += ["sitecustomize.py", "fedward_client/daemon/app.py"]
    content, _ = build_fab_from_files({"pyproject.toml": pointer} | dict.fromkeys(names, code))
    return Fab(hashlib.sha256(content).hexdigest(), content, {})
