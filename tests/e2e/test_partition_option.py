"""`fedward simulate --partition`: all patients cut into sites of their own."""

from tests.e2e.conftest import Fedward, MakeWorkplace


def test_a_partition_shares_out_every_test_patient_once_and_repeats_bit_for_bit(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    assert fedward(work.simulate("--no-examples", out="whole")).code == 0
    for out in ("one", "same"):
        options = ("--no-examples", "--partition", "dirichlet:5", "--sites", "4")
        ended = fedward(work.simulate(*options, out=out))
        assert ended.code == 0, ended.err
    whole, one, same = (work.result(out) for out in ("whole", "one", "same"))
    assert list(one["sites"]) == ["part-1", "part-2", "part-3", "part-4"]
    for split in ("train", "validation", "test"):
        parts = [site["counts"][split] for site in one["sites"].values()]
        assert sum(parts) == sum(site["counts"][split] for site in whole["sites"].values()) > 0
        assert max(parts) < sum(parts)
    assert one["metrics"]["auc"]["support"] == whole["metrics"]["auc"]["support"]
    assert one["model_sha256"] == same["model_sha256"] != whole["model_sha256"]
