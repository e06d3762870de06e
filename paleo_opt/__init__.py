"""paleo-opt: which configuration trains a neural network cheapest or fastest within a budget.

>>> import paleo_opt
>>> network = paleo_opt.load_network("alexnet_v2")
>>> cluster = paleo_opt.load_cluster("ethernet20", device="K80")
>>> strategy = paleo_opt.Strategy(cluster, gpus=4, micro_batch=512)
>>> estimates = paleo_opt.estimate(paleo_opt.compile_network(network), strategy)
>>> round(float(estimates.step_time_s[0]), 2)
1.29

Every name is imported from its module when first used, so that ``import paleo_opt`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paleo_opt.calibration.calibrate import Calibration, calibrate
    from paleo_opt.errors import InfeasibleError, PaleoOptError, Problem, SpecError
    from paleo_opt.estimator.breakdown import layer_breakdown
    from paleo_opt.estimator.configuration import configure
    from paleo_opt.estimator.cost_table import CostTable, compile_network
    from paleo_opt.estimator.estimate import Estimates, Options, estimate
    from paleo_opt.estimator.scaling import Scaling, scaling
    from paleo_opt.estimator.splits import Split
    from paleo_opt.estimator.strategy import Strategies, Strategy
    from paleo_opt.estimator.tornado import Tornado, sensitivity
    from paleo_opt.fleet.fleet_search import FleetAnswer
    from paleo_opt.fleet.recommend_fleet import recommend_fleet
    from paleo_opt.hardware.cluster import Cluster
    from paleo_opt.hardware.device import Device
    from paleo_opt.hardware.load import load_cluster, load_device, load_link
    from paleo_opt.hardware.platform_load import load_platform
    from paleo_opt.layer_splits.split_layers import LayerSplits, split_layers
    from paleo_opt.layer_splits.study import SplitSearch, search_splits
    from paleo_opt.network.graph import Network
    from paleo_opt.network.load import load_network
    from paleo_opt.planning.plan import plan
    from paleo_opt.search.recommend import recommend
    from paleo_opt.search.space import SearchSpace, load_space
    from paleo_opt.search.sweep import sweep
    from paleo_opt.search.tradeoff import pareto
    from paleo_opt.tuning.tune import tune
    from paleo_opt.validation.validate import Validation, validate

__version__ = "0.1.0"

_MODULES = {
    "Calibration": "calibration.calibrate",
    "Cluster": "hardware.cluster",
    "CostTable": "estimator.cost_table",
    "Device": "hardware.device",
    "Estimates": "estimator.estimate",
    "FleetAnswer": "fleet.fleet_search",
    "InfeasibleError": "errors",
    "LayerSplits": "layer_splits.split_layers",
    "Network": "network.graph",
    "Options": "estimator.estimate",
    "PaleoOptError": "errors",
    "Problem": "errors",
    "Scaling": "estimator.scaling",
    "SearchSpace": "search.space",
    "SpecError": "errors",
    "Split": "estimator.splits",
    "SplitSearch": "layer_splits.study",
    "Strategies": "estimator.strategy",
    "Strategy": "estimator.strategy",
    "Tornado": "estimator.tornado",
    "Validation": "validation.validate",
    "calibrate": "calibration.calibrate",
    "compile_network": "estimator.cost_table",
    "configure": "estimator.configuration",
    "estimate": "estimator.estimate",
    "layer_breakdown": "estimator.breakdown",
    "load_cluster": "hardware.load",
    "load_device": "hardware.load",
    "load_link": "hardware.load",
    "load_network": "network.load",
    "load_platform": "hardware.platform_load",
    "load_space": "search.space",
    "pareto": "search.tradeoff",
    "plan": "planning.plan",
    "recommend": "search.recommend",
    "recommend_fleet": "fleet.recommend_fleet",
    "scaling": "estimator.scaling",
    "search_splits": "layer_splits.study",
    "sensitivity": "estimator.tornado",
    "split_layers": "layer_splits.split_layers",
    "sweep": "search.sweep",
    "tune": "tuning.tune",
    "validate": "validation.validate",
}

__all__ = [
    "Calibration",
    "Cluster",
    "CostTable",
    "Device",
    "Estimates",
    "FleetAnswer",
    "InfeasibleError",
    "LayerSplits",
    "Network",
    "Options",
    "PaleoOptError",
    "Problem",
    "Scaling",
    "SearchSpace",
    "SpecError",
    "Split",
    "SplitSearch",
    "Strategies",
    "Strategy",
    "Tornado",
    "Validation",
    "calibrate",
    "compile_network",
    "configure",
    "estimate",
    "layer_breakdown",
    "load_cluster",
    "load_device",
    "load_link",
    "load_network",
    "load_platform",
    "load_space",
    "pareto",
    "plan",
    "recommend",
    "recommend_fleet",
    "scaling",
    "search_splits",
    "sensitivity",
    "split_layers",
    "sweep",
    "tune",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'paleo_opt' has no attribute {name!r}")
    value = getattr(import_module(f"paleo_opt.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
