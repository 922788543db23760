import pytest

from fedward_client.noise_place import noise_place


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_noise_is_drawn_on_the_processor_unless_the_site_says_otherwise(device: str) -> None:
    assert noise_place(device, device_noise=False) == "cpu"


def test_a_site_that_allows_it_draws_on_a_cuda_device_and_on_no_other() -> None:
    places = [noise_place(device, device_noise=True) for device in ("cuda", "cpu", "mps", "xpu")]
    assert places == ["device", "cpu", "cpu", "cpu"]
