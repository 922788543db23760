"""The last exchange of a run: each site is told what came of it, and signs that it was.

Once a run, after the test patients and before the run is finished. Nobody's answer is needed any
more: who does not answer within a minute is left untold, and the run ends all the same. Killed in
between, the coordinator says the same again. Each receipt is kept beside the journal, whose line
names its hash.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedward_common.atomic_files import write_atomically
from fedward_common.evaluation.sums import sums_from_vector, thresholded_names
from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_common.wire.kept_envelope import SignedExchange, encode_exchange
from fedward_common.wire.messages import encode_message
from fedward_common.wire.run_result import (
    FEWEST_SITES_TOLD,
    MAX_RESULT_BYTES,
    PooledFigure,
    ResultReceipt,
    RunResult,
)
from fedward_server.coordinator.exchange import (
    UNEXPECTED_ANSWER,
    Answer,
    Exchange,
    Failure,
)
from fedward_server.coordinator.pooled_evaluation import figures_of, thresholds_for
from fedward_server.coordinator.questions import question_of, subject_of
from fedward_server.coordinator.run_journal import JournalHead, RunHistory, unpacked
from fedward_server.coordinator.run_record import RunRecord
from fedward_server.coordinator.run_setup import RunSetup

CLOSING_SECONDS = 60.0

_SILENT = {"reason": None, "bin_bound": None, "excluded": 0, "positives": None, "negatives": None}


def tell_result(setup: RunSetup, record: RunRecord, exchange: Exchange) -> None:
    """Tell every site that accepted the run what came of it, if that was not done yet.

    Args:
        setup: Of the run.
        record: Has the final evaluation; gets who was told.
        exchange: Knows where the sites are.
    """
    history = record.history
    if history.receipts is not None:
        return
    message = result_of(setup.job, history, record.head())
    question = question_of("query.result", message, subject_of(setup, history.round), {})
    deadline = min(CLOSING_SECONDS, setup.job.quorum.deadline_seconds)
    receipts: dict[str, str] = {}
    untold: dict[str, str] = {}
    for outcome in exchange.ask(question, [SiteId(s) for s in history.accepted], deadline):
        if isinstance(outcome, Failure):
            untold[outcome.site] = outcome.code
        elif not _is_receipt(outcome) or outcome.signed is None:
            untold[outcome.site] = UNEXPECTED_ANSWER
        else:
            receipts[outcome.site] = _keep(setup.folder, outcome.site, outcome.signed)
    record.add("result.told", receipts=receipts, untold=untold, seconds=record.seconds())


def receipt_file(run_folder: Path, site: str) -> Path:
    """Name the file of a site's receipt, with the request that it answers."""
    return run_folder / f"receipt-{site}.cbor"


def result_of(job: Job, history: RunHistory, head: JournalHead) -> RunResult:
    """Put together what sites are told: what the run's report says of all of them together.

    Args:
        job: Of the run.
        history: With its final evaluation.
        head: Of the journal, which has that evaluation.
    """
    final = history.final or {}
    selected = final["selected"]
    thresholds = thresholds_for(selected, job.task)
    pooled = sums_from_vector(unpacked(final["sums"]), job.task)
    of_selected = [one for one in history.evaluations if one["round"] == selected["round"]]
    validation = of_selected[-1] if of_selected else {"figures": {}, "sites": []}
    # They are chosen on the same sums as the validation figures, and told with these or not at all.
    is_told = len(validation["sites"]) >= FEWEST_SITES_TOLD
    edges = [one.bin_edge for one in thresholds] if is_told else []
    told = RunResult(
        test=_told(figures_of(pooled, job.task, thresholds, split="test"), final["sites"]),
        validation=_told(validation["figures"], validation["sites"]),
        threshold_bin_edges=dict(zip(thresholded_names(job.task), edges, strict=False)),
        selected_round=selected["round"],
        rounds_committed=len(history.checkpoints),
        num_sites=len(final["sites"]),
        journal_head=head.sha256,
        journal_lines=head.num_lines,
    )
    return _that_fits(told)


def _told(figures: Mapping[str, Mapping[str, Any]], sites: list[str]) -> dict[str, PooledFigure]:
    if len(sites) < FEWEST_SITES_TOLD:
        return {}
    return {name: PooledFigure(**(_SILENT | dict(figure))) for name, figure in figures.items()}


def _that_fits(told: RunResult) -> RunResult:
    """Leave single classes out where they are so many that a site would take no such message."""
    if len(encode_message(told)[1]) <= MAX_RESULT_BYTES:
        return told
    means = [
        {name: one for name, one in figures.items() if ":" not in name}
        for figures in (told.test, told.validation)
    ]
    return RunResult(**(vars(told) | {"test": means[0], "validation": means[1]}))


def _is_receipt(answer: Answer) -> bool:
    return isinstance(answer.message, ResultReceipt) and not answer.arrays


def _keep(folder: Path, site: str, signed: SignedExchange) -> str:
    """Write a receipt down; give the hash that the journal names."""
    file, content = receipt_file(folder, site), encode_exchange(signed)
    write_atomically(file, content, mode=0o600)
    return hashlib.sha256(content).hexdigest()
