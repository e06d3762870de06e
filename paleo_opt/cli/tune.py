"""``paleo-opt tune NET --command '…'``: the fastest way to train, by as few real runs as can be."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from paleo_opt.cli import options, splitting, studying, values

if TYPE_CHECKING:
    from paleo_opt.network.graph import Network
    from paleo_opt.tuning.found import Trial

OBJECTIVES = ("step_time", "throughput", "time_to_target")
MOST_TRIALS = 100_000
MOST_REPEATS = 1_000
MOST_SEED = 2**32 - 1
STOPPED = 130
_DESCRIPTION = """\
The fastest way to train, by real runs of your own command: the estimator ranks
what could be run and vetoes what cannot fit, the command really runs, and what
it reports corrects the estimator for the next. {micro_batch}, {gpus}, {tensor}
and the like in the command are searched; the rest is fixed by options. The
command reports by printing, last, a line such as step_time_s=0.123.
"""
_EXAMPLES = """\
  paleo-opt tune resnet50 --on p4d.24xlarge --global-batch 2048 --trial-time 5min \\
    --command 'torchrun --nproc-per-node 8 train.py {micro_batch} {accumulation}'
  paleo-opt tune llama3_8b --on p5.48xlarge --gpus 64 --global-batch 512 \\
    --choice compile=on,off --storage runs.journal --logs logs \\
    --command 'sbatch --wait run.sh {tensor} {micro_batch} {recompute} {compile} {report}'
"""


def add_parser(commands: Any) -> None:
    """Add this command to ``commands``."""
    parser = commands.add_parser(
        "tune",
        help="the fastest way to train, by real runs that the estimator guides",
        description=_DESCRIPTION,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=options.HelpFormatter,
    )
    options.add_network(parser)
    group = parser.add_argument_group("runs")
    add = group.add_argument
    add("--command", dest="run_command", required=True, metavar="TEXT", help="what to run, with {placeholders}")
    add(
        "--choice", action="append", default=[], metavar="NAME=A,B,C",
        help="values of a placeholder of your own, or the only ones of a strategy's field; repeatable",
    )  # fmt: skip
    add(
        "--range", action="append", default=[], metavar="NAME=LOW:HIGH",
        help="of a placeholder of your own, with :log behind for a logarithmic scale; repeatable",
    )  # fmt: skip
    add(
        "--objective", type=values.one_of(OBJECTIVES), metavar="NAME",
        help="step_time (default under one global batch), time_to_target (default otherwise, with a job) or throughput",
    )  # fmt: skip
    add("--trials", type=values.whole(MOST_TRIALS), default=20, metavar="N", help="runs at most (default: 20)")
    add("--trial-time", type=values.quantity("time"), metavar="TIME", help="of one run at most, such as 5min")
    add("--total-time", type=values.quantity("time"), metavar="TIME", help="of all, such as 2h")
    add("--repeats", type=values.whole(MOST_REPEATS), default=1, metavar="N", help="of each run; the median counts")
    add(
        "--least-gain", type=values.nonnegative, default=0.001, metavar="SHARE",
        help="it ends where no run left is expected to gain more (default: 0.001; 0: never)",
    )  # fmt: skip
    add("--report-regex", metavar="RE", help="of the report: a group of seconds, or one named samples_per_s")
    add("--logs", metavar="DIR", help="where what the runs print is kept")
    add("--csv", metavar="FILE", help="the measured steps as a table for validate and calibrate")
    add("--seed", type=values.whole(MOST_SEED, 0), default=0, metavar="N", help="of what is random (default: 0)")
    options.add_hardware(parser)
    parser.add_argument(
        "--gpus", type=values.whole(options.MOST_GPUS), metavar="N",
        help="devices (default: one node); at most, where the command has {gpus}, {nodes} or {data}",
    )  # fmt: skip
    parser.add_argument(
        "--accumulation", type=values.whole(options.MOST_SAMPLES), metavar="N", help="passes per step (default: 1)"
    )
    parser.add_argument(
        "--space", default="default", metavar="NAME", help="whose values fields have (default: default)"
    )
    studying.add_study(parser)
    options.add_strategy(parser)
    options.add_target(parser)
    options.add_model(parser, inference=False)
    options.add_common(parser, options.SET_HELP)
    parser.set_defaults(run=run)


def _fixed(args: argparse.Namespace, network: Network) -> Any:
    """What the options fix of a strategy."""
    from paleo_opt.search.fixed import Fixed

    splits = splitting.splits_of(args, network)
    return Fixed(
        precision=args.precision,
        global_batch=args.global_batch,
        micro_batch=args.micro_batch,
        tensor=None if splits else args.tensor,
        split=args.split,
        collective=args.collective,
        splits=splits,
    )


def _model(args: argparse.Namespace, network: Network) -> Any:
    """The model's options; what running adds to steps is no matter here."""
    from paleo_opt.estimator.options import Options, usual_platform

    return Options(
        model=args.model,
        platform=args.platform or usual_platform(network, args.model),
        updates=args.updates,
        ppp_comp=args.ppp_comp,
        ppp_comm=args.ppp_comm,
        pipelined=args.pipelined,
        workspace_limit=args.workspace_limit,
        optimizer=args.optimizer,
    )


def run(args: argparse.Namespace) -> int:
    """Run what the guide proposes, write the table asked for, and print. Raises `SpecError`, `InfeasibleError`."""
    from paleo_opt.report.files import check_folder, write_whole

    if args.csv is not None:
        check_folder("--csv", args.csv)
    network = options.network_of(args)
    cluster = options.cluster_of(args, args.gpus or 1)

    from paleo_opt.report.json_output import dump
    from paleo_opt.report.terminal import emit
    from paleo_opt.report.tuning import TuningAnswer, measured_table, outcome_text, render
    from paleo_opt.tuning.loop import INTERRUPTED
    from paleo_opt.tuning.tune import tune

    def told(trial: Trial) -> None:
        if sys.stderr.isatty():
            emit(f"run {trial.number}: {outcome_text(trial)}", sys.stderr)

    found = tune(
        network,
        args.run_command,
        on=cluster,
        gpus=args.gpus,
        accumulation=args.accumulation,
        fixed=_fixed(args, network),
        choices=args.choice,
        ranges=args.range,
        space=args.space,
        objective=args.objective,
        trials=args.trials,
        trial_time_s=args.trial_time,
        total_time_s=args.total_time,
        repeats=args.repeats,
        least_gain=args.least_gain,
        seed=args.seed,
        report_regex=args.report_regex,
        logs=args.logs,
        options=_model(args, network),
        conv_algorithm=args.conv_algorithm,
        kept=studying.kept_of(args),
        progress=told,
    )
    answer = TuningAnswer(network, found, args.csv or "")
    if args.csv is not None:
        write_whole("--csv", args.csv, measured_table(answer))
    emit(dump(answer.to_json()) if args.json else render(answer))
    return STOPPED if found.ended == INTERRUPTED else 0
