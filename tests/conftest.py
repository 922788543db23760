"""Where the real images are, and what a missing folder means."""

import os
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent.parent


def _data_root() -> Path:
    named = os.environ.get("FEDWARD_DATA_ROOT")
    return Path(named) if named else _HERE.parent / "shared" / "data"


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
