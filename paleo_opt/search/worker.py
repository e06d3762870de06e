"""A worker: runs trials of a study that another process asked, from what is kept with the study alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import optuna

from paleo_opt import __version__
from paleo_opt.errors import SpecError
from paleo_opt.network.graph import Network
from paleo_opt.search.budgets import check_goal, parse_budgets
from paleo_opt.search.optuna_search import NestedSearch
from paleo_opt.search.outer import OuterSpace
from paleo_opt.search.problem import Fixed, count_strategies, load_problem
from paleo_opt.search.sharded_sweep import ShardedSweep
from paleo_opt.studies.kept import COMMAND, IDENTITY, QUESTION, Kept, load
from paleo_opt.studies.lost_trials import hand_back
from paleo_opt.studies.problem import StudyProblem
from paleo_opt.studies.run import OPTIMUM, PLANNED, SEED, WORKER, Progress, quiet, this_process
from paleo_opt.studies.run_kept import PATIENCE, run_kept
from paleo_opt.studies.storage import shown

#: Seconds between looks for a study that is not there yet.
_LOOK_S = 1.0
#: What waiting does not mend.
_FINAL = re.compile(r"authentication failed|role .* does not exist|is not supported|no database URL|needs the package")


@dataclass(frozen=True)
class Work:
    """What a worker has done.

    Attributes:
        study: Its name.
        worker: What the trials call this process.
        trials: Finished by it.
        strategies: Evaluated in them.
        seconds: From the first look at the study to the end.
        ended: Why the study is over; empty where it goes on without this worker.
        interrupted: Whether the worker was told to stop.
    """

    study: str
    worker: str
    trials: int
    strategies: int
    seconds: float
    ended: str
    interrupted: bool


def search_problem(network: Network, asked: Mapping[str, Any], trials: int, shard_size: int | None) -> StudyProblem:
    """What a study of `recommend` searches.

    Args:
        network: With its job.
        asked: The arguments of `recommend`, but for the network.
        trials: Of the study.
        shard_size: Strategies of a shard, where every one is evaluated; else None.

    Raises:
        SpecError: bad input.
    """
    budgets = parse_budgets(asked["budgets"])
    names = ("precision", "global_batch", "micro_batch", "tensor", "split", "collective")
    problem = load_problem(
        network,
        budgets,
        check_goal(asked["minimize"] or budgets.default_goal),
        on=asked["on"],
        device=asked["device"],
        space=asked["space"],
        options=asked["options"],
        conv_algorithm=asked["conv_algorithm"],
        fixed=Fixed(**{name: asked[name] for name in names}, splits=asked.get("fixed") or {}),
        overrides=asked["overrides"],
    )
    blocks = problem.blocks()
    if shard_size is not None:
        return ShardedSweep(problem, blocks, shard_size).study_problem()
    outer = OuterSpace.of(problem, blocks, count_strategies(blocks))
    return NestedSearch(problem, blocks, outer, packed=True).study_problem(trials)


def find_study(kept: Kept, patience: float = 0.0, say: Callable[[str], None] | None = None) -> optuna.Study:
    """A study that holds a question, waiting for it where it is not there yet.

    Args:
        kept: Where, and its name.
        patience: Seconds to wait for the study, or for its database.
        say: Told what it waits for.

    Raises:
        SpecError: it is not there, in that time; or was not made by this version of the program.
    """
    end = time.monotonic() + patience
    told = ""
    while True:
        try:
            study = load(kept)
            with quiet():
                attributes = study.user_attrs
            if IDENTITY in attributes or study.get_trials(deepcopy=False):
                break
            why = SpecError(f"--study {kept.name}: is empty; whoever asks has not said yet what it is about")
        except SpecError as error:
            why = error
        if time.monotonic() >= end or _FINAL.search(str(why)):
            raise why
        if say is not None and str(why) != told:
            told = str(why)
            say(f"waiting: {told}")
        time.sleep(min(_LOOK_S, max(0.0, end - time.monotonic())))
    where = f"study {kept.name!r} in {shown(kept.storage)}"
    if IDENTITY not in attributes:
        raise SpecError(f"{where} was not made by paleo-opt: it holds no question")
    version = attributes[IDENTITY].get("paleo-opt", __version__)
    if version != __version__:
        raise SpecError(
            f"{where} is of paleo-opt {version}, this is {__version__}: figures may differ; install {version}"
        )
    if not attributes.get(QUESTION):
        raise SpecError(f"{where} holds no question; only a study that was begun with --storage can be joined")
    return study


def write_question(study: optuna.Study, folder: Path) -> None:
    """Write the files of a study's question into an empty folder.

    Raises:
        SpecError: the study names a file outside of it.
    """
    files: Mapping[str, str] = study.user_attrs[QUESTION]
    for name, text in files.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or "\\" in name or ".." in parts:
            raise SpecError(f"study {study.study_name!r} names a file {name[:60]!r}, which is outside of its folder")
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def check_same(kept: Kept, study: optuna.Study, problem: StudyProblem) -> None:
    """Refuse a question that means something else here than where it was asked.

    Raises:
        SpecError: the networks, clusters or constants that ship with the program are others.
    """
    # As it comes back from the storage.
    known, here = study.user_attrs[IDENTITY], json.loads(json.dumps(problem.identity))
    changed = [name for name in here if name in known and known[name] != here[name] and name != "variables"]
    if changed:
        name = next((name for name in changed if name != "question"), "question")
        what = "" if name == "question" else f" (its {name} is {known[name]}, here {here[name]})"
        raise SpecError(
            f"study {kept.name!r} in {shown(kept.storage)}: the specs that ship with this paleo-opt differ from those "
            f"it was asked of{what}: install the same build"
        )


def work(
    problem: StudyProblem,
    kept: Kept,
    study: optuna.Study,
    *,
    most: int | None = None,
    patience: float = PATIENCE,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Work:
    """Run trials of a study until it is over, or this worker is interrupted.

    Args:
        problem: What the study searches.
        kept: Where, and its name.
        study: It, as `find_study` found it.
        most: Trials that this worker runs at most; None for all there are.
        patience: Seconds without the database after which it gives up.
        progress: Called after each trial.
        say: Told when the database is lost and found again.

    Raises:
        SpecError: it is of something else, or its database stays away.
    """
    start = time.monotonic()
    attributes = study.user_attrs
    # Where the study was deleted meanwhile it is made anew, whole.
    kept = replace(kept, command=str(attributes.get(COMMAND, "")), question=attributes[QUESTION])
    optimum = attributes.get(OPTIMUM)
    ended, interrupted = "", False
    try:
        run = run_kept(
            problem,
            kept,
            trials=attributes[PLANNED],
            seed=attributes.get(SEED, 0),
            stop_at=-np.inf if optimum is None else optimum,
            most=most,
            progress=progress,
            say=say,
            patience=patience,
        )
        ended = run.ended
    except KeyboardInterrupt:
        interrupted = True
        with quiet():
            hand_back(study)
    with quiet():
        mine = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get(WORKER) == this_process()]
    done = [
        trial for trial in mine if trial.state in (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    ]
    return Work(
        study=kept.name,
        worker=this_process(),
        trials=len(done),
        strategies=sum(int(trial.user_attrs.get("strategies", 0)) for trial in done),
        seconds=time.monotonic() - start,
        ended=ended,
        interrupted=interrupted,
    )
