"""A question to a fleet, checked: what it is about, and whether it can be answered."""

from __future__ import annotations

from collections.abc import Sequence

from paleo_opt.errors import SpecError, nearest
from paleo_opt.estimator.cost_table import CostTable, compile_network
from paleo_opt.estimator.options import Options, usual_options
from paleo_opt.fleet.batch_schedule import check_growth
from paleo_opt.fleet.data_way import Target
from paleo_opt.fleet.fleet_problem import FleetProblem
from paleo_opt.fleet.groups import Kind, check_joined, load_joining_link, most_nodes
from paleo_opt.fleet.model import FleetModel, make_model
from paleo_opt.fleet.plan import DATA, PIPELINE, WAYS, check_prices
from paleo_opt.hardware.cluster import Cluster
from paleo_opt.network.graph import Network, TrainingJob
from paleo_opt.search.budgets import parse_budgets

GOALS = ("time", "cost")
KNOBS = ("bucket", "overlap", "batch")
WAYS_ASKED = ("both", *WAYS)
MOST_PHASES = 8


def make_problem(
    network: Network,
    kinds: Sequence[Kind],
    *,
    budgets: Sequence[str] = (),
    minimize: str | None = None,
    way: str = "both",
    phases: int = 1,
    growth: float = 1.0,
    knobs: Sequence[str] = (),
    global_batch: int | None = None,
    precision: str | None = None,
    collective: str | None = None,
    link: str | None = None,
    conv_algorithm: str | None = None,
    options: Options | None = None,
) -> FleetProblem:
    """What is asked, checked.

    Args:
        network: With a training job.
        kinds: Of nodes, at least one; each cluster once.
        budgets: Texts such as ``64gpus``, ``$500`` and ``12h``.
        minimize: ``time`` or ``cost``; by default as `Budgets.default_goal`.
        way: ``data``, ``pipeline`` or ``both``.
        phases: Of the batch schedule at most.
        growth: Of the critical batch from the start to the end of the training.
        knobs: Out of `KNOBS`; ``batch`` with one phase means two.
        global_batch: The only one considered.
        precision: Of all.
        collective: The only one considered.
        link: Between nodes of different kinds; needed where they are of different providers.
        conv_algorithm: As of `compile_network`.
        options: The model's constants and terms.

    Raises:
        SpecError: what does not go together, every kind of it with its reason.
    """
    asked = parse_budgets(budgets)
    goal = minimize or asked.default_goal
    if goal not in GOALS:
        raise SpecError(f"minimize {goal!r}{nearest(goal, GOALS)}")
    if asked.energy_kwh is not None:
        raise SpecError("a fleet is held to budgets of GPUs, money and time; expected none of energy")
    if way not in WAYS_ASKED:
        raise SpecError(f"way {way!r}{nearest(way, WAYS_ASKED)}")
    for knob in knobs:
        if knob not in KNOBS:
            raise SpecError(f"knob {knob!r}{nearest(knob, KNOBS)}")
    job = _job(network, phases, growth, global_batch)
    clusters = [kind.cluster for kind in kinds]
    if not clusters:
        raise SpecError(
            "--on is missing; expected the nodes of a fleet, such as --on p4d.24xlarge:2 --on p3.16xlarge:4"
        )
    if len({cluster.name for cluster in clusters}) < len(clusters):
        raise SpecError("a kind of nodes is given twice; expected its nodes in one")
    joining = load_joining_link(link)
    check_joined(clusters, joining)
    table: CostTable = compile_network(network, conv_algorithm)
    usual = options or usual_options(network)

    def make(some: Sequence[Cluster]) -> FleetModel:
        return make_model(table, some, usual, precision=precision, collective=collective, link=joining)

    model = make(clusters)
    if goal == "cost" or asked.cost_usd is not None:
        check_prices(model)
    if "bucket" in knobs and model.in_blocks:
        raise SpecError(
            f"knob bucket: gradients of a transformer's blocks hide by a share of the backward pass, whatever their "
            f"buckets, so nothing in {network.name} depends on it"
        )
    ways = WAYS if way == "both" else (way,)
    remarks: tuple[str, ...] = ()
    sizes = network.transformer
    if sizes is not None and sizes.encoder_layers and PIPELINE in ways:
        said = f"{network.name} has an encoder and a decoder, which are no chain of blocks: no pipelines are considered"
        if way == PIPELINE:
            raise SpecError(f"way pipeline: {said}")
        ways, remarks = (DATA,), (said,)
    if "batch" in knobs and phases == 1:
        phases = 2
    most = tuple(most_nodes(kind, asked.gpus) for kind in kinds)
    if not any(most):
        least = min(cluster.devices_per_node for cluster in clusters)
        raise SpecError(f"budget {asked.gpus} GPUs: no whole node of these has as few; the smallest has {least}")
    return FleetProblem(
        model=model,
        most=most,
        target=Target(job, job.max_global_batch, global_batch, phases, growth),
        budgets=asked,
        goal=goal,
        ways=ways,
        knobs=tuple(knobs),
        make=make,
        remarks=remarks,
    )


def _job(network: Network, phases: int, growth: float, global_batch: int | None) -> TrainingJob:
    if network.job is None:
        raise SpecError(f"{network.name} has no job, so there is no time to a target; expected --samples N")
    if not 1 <= phases <= MOST_PHASES:
        raise SpecError(f"phases is {phases}; expected from 1 to {MOST_PHASES}")
    if global_batch is not None and phases > 1:
        raise SpecError("phases are of global batches to choose from; with --global-batch there is one")
    check_growth(network.job, growth)
    return network.job
