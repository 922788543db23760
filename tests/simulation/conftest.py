from pathlib import Path

import pytest
from tests.masked_federation import SHORT
from tests.tiny_federation import TinyFederation


@pytest.fixture(scope="session")
def undisturbed(tiny: TinyFederation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short masked run in which nothing happened."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    tiny.with_job(*SHORT).run(folder)
    return folder
