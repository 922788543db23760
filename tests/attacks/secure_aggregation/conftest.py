from pathlib import Path

import pytest
from tests.attacks.secure_aggregation.asked_hospitals import Hospitals
from tests.attacks.secure_aggregation.attacker import masked_by_all
from tests.attacks.secure_aggregation.real_hospitals import Round, lead_round
from tests.secagg_federation import Federation, make_federation
from tests.tiny_federation import TinyFederation


@pytest.fixture
def hospitals(tiny: TinyFederation, tmp_path: Path) -> Hospitals:
    """Three hospitals that accepted a run with secure aggregation; no round was asked for yet."""
    job = ("secure_aggregation.enabled=true", "training.local_steps=1")
    federation = tiny.with_job(*job)
    asked = Hospitals(federation, federation.set_up(tmp_path / "run"))
    asked.propose()
    return asked


@pytest.fixture(scope="session")
def led(tmp_path_factory: pytest.TempPathFactory) -> Round:
    """Four real hospitals that were led through a round; each attack gets a copy of one."""
    return lead_round(tmp_path_factory.mktemp("hospitals"))


@pytest.fixture
def seven() -> Federation:
    """Seven members with keys, of which two may be the coordinator's; no directory was shown."""
    federation = make_federation(7, num_words=2, num_lane=1)
    federation.begin()
    return federation


@pytest.fixture(scope="session")
def all_masked() -> Federation:
    """Seven members that have masked; no list of survivors was shown yet. Only to be forked."""
    return masked_by_all(7)


@pytest.fixture
def masked_seven(all_masked: Federation) -> Federation:
    """The same, for one test."""
    return all_masked.fork()
