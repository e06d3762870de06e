"""Tune a network's training by real runs that the estimator guides."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paleo_opt.errors import SpecError
from paleo_opt.estimator.cost_table import compile_network
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.hardware.cluster import Cluster, single_device_cluster
from paleo_opt.hardware.load import load_cluster, load_device
from paleo_opt.network.graph import Network
from paleo_opt.network.load import load_network
from paleo_opt.search.fixed import Fixed
from paleo_opt.search.space import SearchSpace, load_space
from paleo_opt.tuning.candidates import make_candidates
from paleo_opt.tuning.choices import STRATEGY_FIELDS, Named
from paleo_opt.tuning.command import OWN, parse_command
from paleo_opt.tuning.found import Trial, Tuning
from paleo_opt.tuning.knobs import Knob, parse_choice, parse_range
from paleo_opt.tuning.loop import LEAST_GAIN, TRIALS, run_tuning
from paleo_opt.tuning.points import Points, objective_of
from paleo_opt.tuning.readings import compile_pattern
from paleo_opt.tuning.runs import Runner

if TYPE_CHECKING:
    from paleo_opt.studies.kept import Kept


def tune(
    network: str | Network,
    command: str,
    *,
    on: str | Cluster | None = None,
    device: str | None = None,
    gpus: int | None = None,
    accumulation: int | None = None,
    fixed: Fixed | None = None,
    choices: Sequence[str] = (),
    ranges: Sequence[str] = (),
    space: str | SearchSpace = "default",
    objective: str | None = None,
    trials: int = TRIALS,
    trial_time_s: float | None = None,
    total_time_s: float | None = None,
    repeats: int = 1,
    least_gain: float = LEAST_GAIN,
    seed: int = 0,
    report_regex: str | None = None,
    logs: str | None = None,
    options: Options | None = None,
    conv_algorithm: str | None = None,
    kept: Kept | None = None,
    progress: Callable[[Trial], None] | None = None,
) -> Tuning:
    """Find the fastest way to train ``network`` by running ``command``, as few times as can be.

    Args:
        network: A name, a file, or a network.
        command: Of one run, for the shell, with placeholders such as ``{micro_batch}`` (docs/tune.md).
        on: The cluster that it runs on.
        device: In place of the cluster's own; alone, one such device.
        gpus: Devices that it runs on (one node's); where the command names them, at most.
        accumulation: Passes per step where the command does not name them.
        fixed: Other fields that the command does not name.
        choices: ``name=a,b,c``: values of a placeholder of your own, or the only ones of a field.
        ranges: ``name=low:high`` or ``name=low:high:log``, likewise of a placeholder of your own.
        space: A search space's name or file, or a space: the usual values of fields.
        objective: One of `points.OBJECTIVES`; by default the time of a step where all have one global batch, else the
            time to the job's target, else the throughput.
        trials: Runs at most, those of an earlier call that is resumed included.
        trial_time_s: Of one run at most.
        total_time_s: Of all.
        repeats: Of each run; the median counts.
        least_gain: It ends where no run that is left is expected to gain more than this share; 0 for never.
        seed: Of what is random, where the points are too many to look at all.
        report_regex: Of the report in what a run prints (`readings`).
        logs: A folder for what the runs print; nothing is kept where it is None.
        options: The model's constants.
        conv_algorithm: As for `compile_network`.
        kept: Where the study is kept; None for memory.
        progress: Called after each run.

    Raises:
        SpecError: bad input, or a command that cannot be run at all.
        InfeasibleError: no strategy fits, or no run went through.
    """
    for name, value in (("--trials", trials), ("--repeats", repeats)):
        if value < 1:
            raise SpecError(f"{name} is {value}; expected at least 1")
    for name, limit in (("--trial-time", trial_time_s), ("--total-time", total_time_s)):
        if limit is not None and limit <= 0:
            raise SpecError(f"{name} is {limit:g} s; expected above 0")
    network = network if isinstance(network, Network) else load_network(network)
    if not isinstance(space, SearchSpace):
        space = load_space(space)
    cluster = _cluster(on, device)
    declared = [parse_choice(text) for text in choices] + [parse_range(text) for text in ranges]
    knobs, restricted = _told_apart(declared, ranges)
    template = parse_command(command, STRATEGY_FIELDS, [knob.name for knob in declared])
    pattern = compile_pattern(report_regex)
    names = frozenset(name for name in template.names if name in STRATEGY_FIELDS)
    named = Named(names, {knob.name: knob.levels for knob in restricted}, gpus, accumulation, fixed or Fixed())
    options = options or usual_options(network)
    table = compile_network(network, conv_algorithm)
    candidates = make_candidates(table, cluster, space, named, options)
    points = Points(candidates, tuple(knobs), objective_of(candidates, objective))
    points.check()
    identity = {
        "network": network.name,
        "command": command,
        "cluster": cluster.name,
        "device": cluster.device.name,
        "fixed": str(named.fixed),
        "gpus": gpus,
        "repeats": repeats,
        "report": report_regex,
    }
    with _folder(logs) as folder:
        runner = Runner(folder, pattern, trial_time_s)
        return run_tuning(
            points,
            template,
            runner,
            identity=identity,
            trials=trials,
            total_time_s=total_time_s,
            repeats=repeats,
            least_gain=least_gain,
            seed=seed,
            kept=kept,
            progress=progress,
        )


def _cluster(on: str | Cluster | None, device: str | None) -> Cluster:
    if isinstance(on, Cluster):
        return on
    if on is not None:
        return load_cluster(on, device)
    if device is None:
        raise SpecError("neither cluster nor device is given; expected where the command runs")
    return single_device_cluster(load_device(device))


def _told_apart(declared: Sequence[Knob], ranges: Sequence[str]) -> tuple[list[Knob], list[Knob]]:
    """Knobs of the user, and choices that restrict a field of the strategy.

    Raises:
        SpecError: a name given twice, a range of a field, or a name that the program fills in itself.
    """
    names = [knob.name for knob in declared]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"--choice and --range give {name} {names.count(name)} times; expected once")
        if name in OWN:
            raise SpecError(f"--choice {name}: {{{name}}} is filled in by the program; expected another name")
    for knob in declared[len(declared) - len(ranges) :]:
        if knob.name in STRATEGY_FIELDS:
            raise SpecError(f"--range {knob.name}: is a field of a strategy; expected --choice {knob.name}=A,B,C")
    return (
        [knob for knob in declared if knob.name not in STRATEGY_FIELDS],
        [knob for knob in declared if knob.name in STRATEGY_FIELDS],
    )


@contextlib.contextmanager
def _folder(logs: str | None) -> Iterator[Path]:
    """The folder for logs, made where it is not there; one that goes again where none is asked for.

    Raises:
        SpecError: it cannot be made.
    """
    if logs is None:
        with tempfile.TemporaryDirectory(prefix="paleo-opt-") as folder:
            yield Path(folder)
        return
    try:
        Path(logs).mkdir(exist_ok=True)
    except OSError as error:
        raise SpecError(f"--logs: {logs} cannot be a folder: {(error.strerror or str(error)).lower()}") from None
    yield Path(logs)
