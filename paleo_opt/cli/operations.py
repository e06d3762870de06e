"""The options of money and operations: how nodes are had, and what running a job adds to its ideal time and energy."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from paleo_opt.cli.values import nonnegative, one_of, positive, quantity

if TYPE_CHECKING:
    from paleo_opt.estimator.energy import PowerModel
    from paleo_opt.estimator.reliability import Operations

PRICINGS = ("on_demand", "reserved_1y", "spot", "owned")


def add_operations(parser: argparse.ArgumentParser) -> None:
    """The terms on which nodes are had, and what running a job adds to its ideal time, money and energy."""
    group = parser.add_argument_group("money and operations")
    group.add_argument(
        "--pricing", type=one_of(PRICINGS), default="on_demand", metavar="TERMS",
        help=f"{', '.join(PRICINGS)} (default: on_demand)",
    )  # fmt: skip
    group.add_argument(
        "--ideal", action="store_true", help="nothing fails, waits or lags (by default devices fail now and then)"
    )
    group.add_argument(
        "--mtbf", type=quantity("time"), metavar="TIME", help="between failures of one device (default: 50,677h)"
    )
    group.add_argument(
        "--restart-time",
        type=quantity("time"),
        metavar="TIME",
        help="from an interruption to training (default: 15min)",
    )
    group.add_argument(
        "--checkpoint-bandwidth", type=quantity("bandwidth"), metavar="RATE",
        help="at which a node writes its share of a checkpoint (default: 1GB/s)",
    )  # fmt: skip
    group.add_argument(
        "--input-rate", type=positive, metavar="N", help="samples/s that a node can read and feed (default: no limit)"
    )
    group.add_argument(
        "--straggler-variation", type=nonnegative, metavar="CV",
        help="of one worker's time for a step; the slowest counts (default: 0)",
    )  # fmt: skip
    group.add_argument(
        "--spot-interruptions", type=nonnegative, metavar="N",
        help="of a spot node an hour, where its price does not say (default: 0.1)",
    )  # fmt: skip
    group.add_argument("--queue", type=quantity("time"), metavar="TIME", help="waiting for the nodes (default: none)")
    group.add_argument("--storage-cost", type=quantity("money"), metavar="$", help="a month, while the job runs")
    group.add_argument("--egress-cost", type=quantity("money"), metavar="$", help="of moving data, once")
    group.add_argument("--pue", type=positive, metavar="PUE", help="of the building (default: 1.1)")
    group.add_argument(
        "--carbon-intensity",
        type=nonnegative,
        metavar="G",
        help="of the grid, grams of CO2 a kWh (default: not counted)",
    )


def operations_of(args: argparse.Namespace) -> Operations:
    """What the options say of running a job. Raises `SpecError`."""
    from dataclasses import replace

    from paleo_opt.estimator.reliability import IDEAL, Operations

    names = {
        "mtbf": "device_mtbf_s",
        "restart_time": "restart_s",
        "checkpoint_bandwidth": "checkpoint_bandwidth",
        "input_rate": "input_rate",
        "straggler_variation": "straggler_variation",
        "spot_interruptions": "spot_interruptions",
        "queue": "queue_s",
        "storage_cost": "storage_usd_per_month",
        "egress_cost": "egress_usd",
    }
    given = {field: getattr(args, name) for name, field in names.items() if getattr(args, name) is not None}
    return replace(IDEAL if args.ideal else Operations(), **given)


def power_of(args: argparse.Namespace) -> PowerModel:
    """What the options say of power and carbon. Raises `SpecError`."""
    from dataclasses import replace

    from paleo_opt.estimator.energy import PowerModel

    names = {"pue": "pue", "carbon_intensity": "carbon_g_per_kwh"}
    given = {field: getattr(args, name) for name, field in names.items() if getattr(args, name) is not None}
    return replace(PowerModel(), **given)
