from pathlib import Path

import pytest
import torch
from tests.client.daemon.asked_site import Coordinator
from tests.tiny_federation import TinyFederation, make_federation

from fedward_common.wire import messages


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyFederation:
    """Three sites with learnable images; runs go into folders of their own."""
    return make_federation(tmp_path_factory.mktemp("tiny") / "federation")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def coordinator(tiny: TinyFederation, tmp_path: Path) -> Coordinator:
    setup = tiny.set_up(tmp_path / "run")
    return Coordinator(tiny, setup, setup.key)


@pytest.fixture
def accepted(coordinator: Coordinator) -> Coordinator:
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    return coordinator
