import subprocess
import sys
from typing import Any

import pytest

from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import Job
from fedward_common.models.catalogue import MODELS, architecture_of, check_model


def refusal(job: Job) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check_model(job)
    return f"{caught.value} | {caught.value.hint}"


def test_the_catalogue_the_spec_and_weights_files_need_no_torch_and_no_monai() -> None:
    program = (
        "import sys, fedward_common.models.catalogue, fedward_common.models.weights_file\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'monai')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_classification_networks_of_our_own_need_no_monai() -> None:
    program = (
        "import sys, fedward_common.models.cnn, fedward_common.models.resnet\n"
        "import fedward_common.models.registry\n"
        "sys.exit('monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_there_are_five_models() -> None:
    assert list(MODELS) == ["cnn", "resnet18", "densenet121", "gabor", "unet"]


def test_an_unknown_model_is_refused_with_the_nearest_name(make_job: Any) -> None:
    assert "'resnet81'" in refusal(make_job("resnet81"))
    assert "did you mean 'resnet18'?" in refusal(make_job("resnet81"))


def test_an_unknown_option_is_refused_with_the_nearest_key(make_job: Any) -> None:
    message = refusal(make_job("cnn", widht=8))
    assert "model.options.widht" in message
    assert "did you mean 'width'?" in message


@pytest.mark.parametrize(
    ("name", "kind", "fitting"),
    [
        ("cnn", "segmentation", "unet"),
        ("unet", "classification", "cnn, resnet18, densenet121, gabor"),
    ],
)
def test_a_model_of_another_task_is_refused_and_fitting_ones_are_named(
    make_job: Any, name: str, kind: str, fitting: str
) -> None:
    assert f"models for {kind}: {fitting}" in refusal(make_job(name, kind=kind))


@pytest.mark.parametrize(
    ("name", "size", "options", "expected"),
    [
        ("densenet121", (31, 64), {}, "at least 32 pixels"),
        ("resnet18", (28, 28), {}, "small_images = true"),
        ("resnet18", (7, 28), {"small_images": True}, "at least 8 pixels"),
        ("cnn", (7, 28), {}, "at least 8 pixels"),
        ("cnn", (2, 2), {"blocks": 1, "width": 8, "groups": 8}, "groups of a single value"),
        ("gabor", (28, 28, 28), {}, "takes no 3-D images"),
        ("gabor", (28, 19), {}, "at least 20 pixels"),
        ("gabor", (28, 28), {"grid": 8}, "at least 32 pixels"),
        ("gabor", (26, 26), {"scales": 4, "grid": 3}, "at least 27 pixels"),
        ("unet", (20, 24), {}, "divisible by 8"),
        ("unet", (8, 8, 12), {}, "divisible by 8"),
        ("unet", (8, 8), {"groups": 8, "channels": (8, 8, 8, 8)}, "groups of a single value"),
    ],
)
def test_images_that_a_model_cannot_take_are_refused(
    make_job: Any, name: str, size: tuple[int, ...], options: dict[str, Any], expected: str
) -> None:
    assert expected in refusal(make_job(name, size, **options))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("cnn", {"width": 12}, "8, which does not divide 12"),
        ("cnn", {"groups": 0}, "model.options.groups is 0"),
        ("cnn", {"dropout": 1.0}, "model.options.dropout is 1.0"),
        ("cnn", {"blocks": 9}, "model.options.blocks is 9"),
        ("cnn", {"width": 512, "blocks": 5}, "is 512 with 5 blocks"),
        ("resnet18", {"groups": 24}, "24, which does not divide 64"),
        ("densenet121", {"groups": 64}, "64, which does not divide 32"),
        ("gabor", {"scales": 0}, "model.options.scales is 0"),
        ("gabor", {"orientations": 17}, "model.options.orientations is 17"),
        ("gabor", {"grid": 1}, "model.options.grid is 1"),
        ("unet", {"channels": (8, 18)}, "4, which does not divide 18"),
        ("unet", {"channels": (8,)}, "has 1 levels"),
        ("unet", {"strides": (2, 2)}, "model.options.strides is [2, 2]"),
        ("unet", {"strides": (2, 0, 2)}, "model.options.strides is [2, 0, 2]"),
        ("unet", {"residual_units": 9}, "model.options.residual_units is 9"),
    ],
)
def test_options_that_cannot_be_built_are_refused_by_name(
    make_job: Any, name: str, options: dict[str, Any], expected: str
) -> None:
    assert expected in refusal(make_job(name, (32, 32), **options))


def test_an_architecture_names_what_decides_the_meaning_of_weights(make_job: Any) -> None:
    named = architecture_of(make_job("cnn", dropout=0.5))
    assert named == "cnn/2d/1-channel/2-classes/blocks=3,groups=8,width=32"
    assert architecture_of(make_job("cnn", groups=4)) != named
    standardised = architecture_of(make_job("cnn", weight_standardisation=True))
    assert standardised == named.replace("width", "weight_standardisation=True,width")
    assert architecture_of(make_job("gabor", (28, 28))) == (
        "gabor/2d/1-channel/2-classes/grid=5,orientations=8,scales=3"
    )
    plain, spelled_out = make_job("unet"), make_job("unet", strides=(2, 2, 2))
    assert architecture_of(plain) == architecture_of(spelled_out)
    assert "strides=2-2-2" in architecture_of(plain)
