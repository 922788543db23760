from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.client.training.private.patient_loop import SMALL_MODELS, job_of
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

from fedward_client.training.per_sample.clipping import PatientClipping
from fedward_client.training.per_sample.contributions import BatchLayout
from fedward_client.training.private_training import require_private_module
from fedward_common.errors import TrainingError
from fedward_common.models.registry import initial_module


class WithBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))


class WithOwnWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


class OddLinear(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs - inputs.mean(0))


def tied() -> nn.Module:
    pair = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    pair[1].weight = pair[0].weight
    return pair


UNFIT: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm2d": lambda: nn.BatchNorm2d(3),
    "BatchNorm1d": lambda: nn.BatchNorm1d(3, affine=False, track_running_stats=False),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(3),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
    "WithBuffer": WithBuffer,
    "WithOwnWeight": WithOwnWeight,
    "OddLinear": lambda: OddLinear(3, 3),
    "GRU": lambda: nn.GRU(3, 3),
    "Conv2d": lambda: nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
    "Conv1d": lambda: nn.Conv1d(3, 3, 3, padding="same"),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(3, 3, 3, dilation=2, output_padding=1),
    "Linear": tied,
    "ParametrizedLinear": lambda: parametrizations.spectral_norm(nn.Linear(3, 3)),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_layer_that_mixes_patients_or_has_no_rule_is_refused_by_name(name: str) -> None:
    module = nn.Sequential(nn.ReLU(), nn.Sequential(UNFIT[name]()))
    with pytest.raises(TrainingError, match=rf"layer 1\.0.*{name}") as caught:
        require_private_module(module)
    assert caught.value.code == "LAYER_MIXES_PATIENTS"


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_old_weight_norm_is_refused() -> None:
    with pytest.raises(TrainingError, match="not known"):
        require_private_module(weight_norm(nn.Linear(3, 3)))


def test_freezing_a_batch_norm_does_not_make_it_fit() -> None:
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    module[0].requires_grad_(False)
    with pytest.raises(TrainingError):
        require_private_module(module)


@pytest.mark.parametrize("label", SMALL_MODELS)
def test_every_registered_model_is_fit(label: str) -> None:
    require_private_module(initial_module(job_of(label), 0))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        once: Tensor = self.inner(inputs)
        result: Tensor = self.inner(once)
        return result


class AroundTheLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        once: Tensor = self.inner(inputs)
        return once @ self.inner.weight


class PatientsOnTheSecondAxis(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.inner(inputs.t())
        return result


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (Twice, "LAYER_USED_TWICE"),
        (AroundTheLayer, "LAYER_MIXES_PATIENTS"),
        (PatientsOnTheSecondAxis, "LAYER_MIXES_PATIENTS"),
    ],
)
def test_what_only_a_pass_shows_is_refused_in_the_pass(make: Any, code: str) -> None:
    module = make()
    sums: dict[nn.Parameter, Tensor] = {}
    inputs = torch.ones(4, 3)
    with PatientClipping(module) as clipping, pytest.raises(TrainingError) as caught:
        clipping.add_clipped_sum(
            lambda: module(inputs).square().mean(1), BatchLayout(4, 1), 1.0, sums
        )
    assert caught.value.code == code
    assert sums == {}
