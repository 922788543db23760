from pathlib import Path

import pytest
from tests.client.daemon.asked_site import Coordinator
from tests.tiny_federation import TinyFederation

from fedward_common.wire import messages


@pytest.fixture
def coordinator(tiny: TinyFederation, tmp_path: Path) -> Coordinator:
    setup = tiny.set_up(tmp_path / "run")
    return Coordinator(tiny, setup, setup.key)


@pytest.fixture
def accepted(coordinator: Coordinator) -> Coordinator:
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    return coordinator
