import pytest
from tests.client.jobs.asking_coordinator import Asking, asking


@pytest.fixture(scope="module")
def agreed(tmp_path_factory: pytest.TempPathFactory) -> Asking:
    """A real site that agreed to a run, trained a round and was tested."""
    one = asking(tmp_path_factory.mktemp("agreed"), jobs='approval = "within-policy"')
    assert one.propose() == one.train() == one.evaluate_finally() == ""
    return one
