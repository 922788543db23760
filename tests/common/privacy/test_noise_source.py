import copy
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.errors import PrivacyError
from fedward_common.privacy.noise_source import (
    KeyStream,
    NoiseSource,
    OsKeyedNoise,
    SeededNoise,
    poisson_sample,
)

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "aes256_ctr.json"
SOURCES: list[Callable[[], NoiseSource]] = [OsKeyedNoise, lambda: SeededNoise(7, "test")]
each_source = pytest.mark.parametrize("make", SOURCES, ids=["os-keyed", "seeded"])


def test_the_key_stream_is_the_published_one() -> None:
    known = json.loads(VECTORS.read_text())
    expected = bytes.fromhex(known["stream"])
    assert KeyStream(bytes.fromhex(known["key"])).take(len(expected)).tobytes() == expected


def test_a_stream_read_in_pieces_is_the_stream_read_at_once() -> None:
    whole = KeyStream(bytes(32)).take(3 * (1 << 20) + 5)
    stream = KeyStream(bytes(32))
    pieces = [stream.take(size) for size in (1, 0, 1 << 20, (1 << 21) + 4)]
    assert np.array_equal(np.concatenate(pieces), whole)


@each_source
def test_values_have_the_type_and_number_asked_for(make: Callable[[], NoiseSource]) -> None:
    noise = make()
    for num in (0, 1, 2, 7, 100_003):
        normal, uniform = noise.normal(num), noise.uniform(num)
        assert (str(normal.dtype), normal.shape) == ("float32", (num,))
        assert (str(uniform.dtype), uniform.shape) == ("float64", (num,))
        assert np.all((uniform >= 0.0) & (uniform < 1.0))
        assert len(noise.bytes(num)) == num


@each_source
def test_no_value_is_given_twice(make: Callable[[], NoiseSource]) -> None:
    noise = make()
    assert noise.bytes(16) != noise.bytes(16)
    assert not np.array_equal(noise.normal(8), noise.normal(8))
    # Within one request too: blocks and draws go on where the last one ended.
    values = noise.normal(1 << 18)
    assert np.unique(values).size > 0.95 * values.size


@each_source
def test_normal_into_overwrites_every_value_of_any_shape(make: Callable[[], NoiseSource]) -> None:
    values = np.full((300, 400), np.nan, dtype=np.float32)
    make().normal_into(values)
    assert np.all(np.isfinite(values))
    assert abs(float(values.std()) - 1.0) < 0.02


@each_source
def test_added_noise_has_the_standard_deviation_asked_for(make: Callable[[], NoiseSource]) -> None:
    values = np.full((300, 400), 5.0, dtype=np.float32)
    make().add_normal_to(values, 3.0)
    assert abs(float(values.mean()) - 5.0) < 0.05
    assert abs(float(values.std()) - 3.0) < 0.06


def test_added_noise_is_the_same_stream_as_normal_values() -> None:
    values = np.zeros(70_001, dtype=np.float32)
    SeededNoise(3).add_normal_to(values, 1.0)
    assert np.array_equal(values, SeededNoise(3).normal(70_001))


@each_source
def test_an_array_whose_noise_would_be_lost_is_refused(make: Callable[[], NoiseSource]) -> None:
    frozen = np.zeros(4, dtype=np.float32)
    frozen.flags.writeable = False
    for unusable in (np.zeros((4, 4), dtype=np.float32).T[:2], np.zeros(4), frozen):
        with pytest.raises(PrivacyError) as refusal:
            make().normal_into(unusable)  # type: ignore[arg-type]
        assert refusal.value.code == "INVALID_NOISE"


@each_source
@pytest.mark.parametrize("deviation", [0.0, -1.0, float("nan"), float("inf")])
def test_noise_of_no_size_is_refused(make: Callable[[], NoiseSource], deviation: float) -> None:
    values = np.zeros(4, dtype=np.float32)
    with pytest.raises(PrivacyError):
        make().add_normal_to(values, deviation)
    assert not values.any()


def test_a_value_of_no_draws_is_refused() -> None:
    with pytest.raises(PrivacyError):
        OsKeyedNoise(draws=0)


def as_a_pickler_does(noise: NoiseSource) -> object:
    """Every pickler, in whatever library, asks an object how it is reduced."""
    return noise.__reduce_ex__(4)


@each_source
def test_a_source_is_neither_copied_nor_pickled(make: Callable[[], NoiseSource]) -> None:
    attempts: list[Callable[[NoiseSource], object]] = [copy.copy, copy.deepcopy, as_a_pickler_does]
    for attempt in attempts:
        with pytest.raises(PrivacyError) as refusal:
            attempt(make())
        assert refusal.value.code == "NOISE_NOT_COPIED"


def test_the_text_of_a_source_shows_no_key_or_seed() -> None:
    assert repr(OsKeyedNoise()) == "OsKeyedNoise(draws=4, hidden)"
    assert repr(SeededNoise(123456789, "site")) == "SeededNoise(draws=4, hidden)"
    assert repr(KeyStream(bytes(32))) == "KeyStream(hidden)"


def test_only_the_seeded_source_says_that_it_is_not_private() -> None:
    assert OsKeyedNoise().is_private
    assert not SeededNoise(1).is_private


def test_every_request_has_a_key_of_32_bytes_from_the_operating_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    true_urandom = os.urandom

    def recorded(num_bytes: int) -> bytes:
        asked.append(num_bytes)
        return true_urandom(num_bytes)

    monkeypatch.setattr("fedward_common.privacy.noise_source.os.urandom", recorded)
    noise = OsKeyedNoise()
    noise.normal(100_000)
    noise.uniform(3)
    noise.bytes(3)
    assert asked == [32, 32, 32]


def test_no_seed_of_the_process_reaches_the_noise() -> None:
    """Fault 3 of published systems: noise seeded with the run's seed."""
    drawn = []
    for _ in range(2):
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)
        drawn.append(OsKeyedNoise().bytes(16))
    assert drawn[0] != drawn[1]


def test_a_source_keeps_no_key_between_requests() -> None:
    noise = OsKeyedNoise()
    noise.normal(10)
    assert vars(noise) == {"_draws": 4}


def bytes_after_fork(noise: NoiseSource) -> list[bytes]:
    """What two forked children and their parent draw next."""
    drawn = []
    for _ in range(2):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, noise.bytes(16))
            os._exit(0)
        os.waitpid(child, 0)
        drawn.append(os.read(reader, 16))
        os.close(reader)
        os.close(writer)
    return [*drawn, noise.bytes(16)]


def test_a_fork_does_not_repeat_the_noise_of_its_parent() -> None:
    noise = OsKeyedNoise()
    noise.bytes(16)
    assert len(set(bytes_after_fork(noise))) == 3


def test_the_check_of_forks_finds_a_source_that_keeps_its_key() -> None:
    assert len(set(bytes_after_fork(SeededNoise(1)))) == 1


def test_two_sources_never_share_a_stream() -> None:
    assert len({OsKeyedNoise().bytes(16) for _ in range(1000)}) == 1000


def test_a_seeded_stream_repeats_for_the_same_seed_and_labels() -> None:
    one, other = SeededNoise(7, "noise", "site-1", 3), SeededNoise(7, "noise", "site-1", 3)
    assert np.array_equal(one.normal(50_000), other.normal(50_000))
    assert one.bytes(9) == other.bytes(9)
    assert np.array_equal(one.uniform(9), other.uniform(9))


def test_labels_that_differ_in_type_or_in_where_they_end_give_other_streams() -> None:
    labels: list[tuple[str | int, ...]] = [(), (1,), ("1",), ("a", "b"), ("ab",), ('a", "b',)]
    assert len({SeededNoise(7, *each).bytes(16) for each in labels}) == len(labels)


def first_torch_values(seed: int) -> bytes:
    return torch.randn(8, generator=torch.Generator().manual_seed(seed)).numpy().tobytes()


def test_seeds_that_torch_confuses_give_other_streams_here() -> None:
    """A CPU generator of torch keeps 32 bits of a seed: 4 billion streams can be tried."""
    one, other = 7, 7 + 5 * 2**32
    assert first_torch_values(one) == first_torch_values(other)
    assert SeededNoise(one).bytes(16) != SeededNoise(other).bytes(16)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.0000001, float("nan"), float("inf")])
def test_a_sampling_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(PrivacyError) as refusal:
        poisson_sample(OsKeyedNoise(), 10, rate)
    assert refusal.value.code == "INVALID_SAMPLING"


def test_nobody_to_draw_from_is_refused() -> None:
    with pytest.raises(PrivacyError):
        poisson_sample(OsKeyedNoise(), 0, 0.5)


@given(st.integers(1, 500), st.floats(1e-6, 1.0), st.integers(0, 2**40))
def test_drawn_positions_ascend_and_are_of_patients_there_are(
    num_patients: int, rate: float, seed: int
) -> None:
    drawn = poisson_sample(SeededNoise(seed), num_patients, rate)
    assert drawn.dtype == np.int64
    assert np.all(np.diff(drawn) > 0)
    assert np.all((drawn >= 0) & (drawn < num_patients))


def test_a_rate_of_one_draws_everybody() -> None:
    assert poisson_sample(OsKeyedNoise(), 5, 1.0).tolist() == [0, 1, 2, 3, 4]


def test_a_batch_may_be_empty() -> None:
    assert poisson_sample(OsKeyedNoise(), 3, 1e-12).tolist() == []


def test_who_is_drawn_is_whose_uniform_number_is_below_the_rate() -> None:
    uniform = SeededNoise(4).uniform(100)
    assert (
        poisson_sample(SeededNoise(4), 100, 0.3).tolist() == np.flatnonzero(uniform < 0.3).tolist()
    )
