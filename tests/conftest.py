"""What every suite shares: one thread, an order, a tiny federation, where the real images are."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from tests.long_tests_first import long_tests_first

if TYPE_CHECKING:
    from tests.tiny_federation import TinyFederation

# A busy machine is no finding.
settings.register_profile("fedward", deadline=None)
settings.load_profile("fedward")

_HERE = Path(__file__).resolve().parent.parent


@pytest.hookimpl(trylast=True)  # after what deselects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let several workers begin with what takes minutes; one alone keeps the order it was given."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        items[:] = long_tests_first([(item.nodeid, item) for item in items], workers)


def _data_root() -> Path:
    named = os.environ.get("FEDWARD_DATA_ROOT")
    return Path(named) if named else _HERE.parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Another number of threads would give other bytes."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "TinyFederation":
    """Three sites with learnable images; runs go into folders of their own."""
    from tests.tiny_federation import make_federation

    return make_federation(tmp_path_factory.mktemp("tiny") / "federation")


@pytest.fixture(autouse=True)
def hours_of_their_own(request: pytest.FixtureRequest) -> None:
    """Tests share three sites, which write so many refusals an hour: each test begins anew."""
    if "tiny" in request.fixturenames:
        from fedward_client.daemon.audit import TALLY_FILE

        for home in request.getfixturevalue("tiny").homes.values():
            (home / TALLY_FILE).unlink(missing_ok=True)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(scope="session")
def project_root() -> Path:
    return _HERE


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The public images that `README.md` says how to get."""
    root = _data_root()
    if root.is_dir():
        return root
    reason = f"no real images in {root}: set FEDWARD_DATA_ROOT to the folder that holds them"
    if os.environ.get("FEDWARD_CI") == "1" and os.environ.get("FEDWARD_NO_DATA") != "1":
        pytest.fail(reason + ", or FEDWARD_NO_DATA=1 to do without")
    pytest.skip(reason)
