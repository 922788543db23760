"""`[limits]` of a policy: what a job may take of the hospital's machine."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fedward_client.jobs.limits_policy import LimitsPolicy
from fedward_client.site_home import SiteHome
from fedward_client.site_policy import policy_template, read_policy
from fedward_common.errors import ConfigurationError
from fedward_common.settings import from_table


def test_the_template_has_every_key_with_its_default() -> None:
    limits = tomllib.loads(policy_template())["limits"]
    assert limits.keys() == set(LimitsPolicy.__dataclass_fields__)
    assert from_table(LimitsPolicy, limits) == LimitsPolicy()


def test_a_site_that_says_nothing_leaves_the_machine_as_it_is() -> None:
    assert LimitsPolicy().environment() == {}


@pytest.mark.parametrize(("gpus", "visible"), [("none", ""), ((1,), "1"), ((3, 0), "3,0")])
def test_graphics_cards_are_those_that_nvidia_smi_numbers_so(
    gpus: tuple[int, ...] | str, visible: str
) -> None:
    found = LimitsPolicy(gpus=gpus).environment()
    assert found == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": visible}


def test_what_a_site_writes_is_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("[limits]\ncpu_threads = 3\ngpus = [1, 0]\n")
    assert read_policy(SiteHome(tmp_path)).limits == LimitsPolicy(3, (1, 0))


@pytest.mark.parametrize(
    "line",
    [
        "cpu_threads = -1", "cpu_threads = 2.5", "cpu_threads = 5000", 'cpu_threads = "2"',
        'gpus = "cuda:0"', 'gpus = ""', "gpus = []", "gpus = [0, 0]", "gpus = [-1]",
        "gpus = [64]", "gpus = 1", "gpus = [0.5]", "memory = 3",
    ],
)  # fmt: skip
def test_a_limit_that_could_not_be_kept_is_refused_with_its_key_and_file(
    tmp_path: Path, line: str
) -> None:
    (tmp_path / "policy.toml").write_text(f"[limits]\n{line}\n")
    with pytest.raises(ConfigurationError, match=r"policy\.toml.*limits") as caught:
        read_policy(SiteHome(tmp_path))
    assert caught.value.hint


def test_a_process_that_was_limited_computes_with_so_many_threads_and_sees_no_other_card() -> None:
    code = (
        "from fedward_client.jobs.limits_policy import LimitsPolicy, limit_this_process\n"
        "limit_this_process(LimitsPolicy(1, 'none'))\n"
        "import torch\n"
        "print(torch.get_num_threads(), torch.cuda.device_count(), torch.cuda.is_available())"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert ended.stdout.split() == ["1", "0", "False"]
