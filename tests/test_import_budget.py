"""What each part of the command line imports: what makes it start fast, kept by name and not by a clock."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "numpy",
    "yaml",
    "rich",
    "optuna",
    "scipy",
    "asyncio",
    "logging",
    "dataclasses",
    "json",
    "difflib",
    "importlib.metadata",
}


def imported(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after ``code``, which must print nothing but them at last."""
    program = f"import sys\n{code}\nprint(*sys.modules, file=sys.__stdout__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def run(*words: str) -> str:
    return f"from paleo_opt.cli.main import main\nassert main({list(words)!r}) == 0"


def test_the_package_imports_nothing_of_itself() -> None:
    found = imported("import paleo_opt")
    assert not {name for name in found if name.startswith("paleo_opt.")}
    assert not HEAVY & found


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("recommend", "--help"), ("estimate", "--help")])
def test_help_needs_argparse_alone(words: tuple[str, ...]) -> None:
    found = imported(run(*words))
    assert not HEAVY & found
    assert {name for name in found if name.startswith("paleo_opt.")} == {
        "paleo_opt.cli",
        "paleo_opt.cli.calibrate",
        "paleo_opt.cli.estimate",
        "paleo_opt.cli.fleet",
        "paleo_opt.cli.import_network",
        "paleo_opt.cli.list",
        "paleo_opt.cli.main",
        "paleo_opt.cli.measure",
        "paleo_opt.cli.operations",
        "paleo_opt.cli.options",
        "paleo_opt.cli.out",
        "paleo_opt.cli.pareto",
        "paleo_opt.cli.plan",
        "paleo_opt.cli.question",
        "paleo_opt.cli.recommend",
        "paleo_opt.cli.rerun",
        "paleo_opt.cli.scaling",
        "paleo_opt.cli.picture",
        "paleo_opt.cli.sensitivity",
        "paleo_opt.cli.show",
        "paleo_opt.cli.split",
        "paleo_opt.cli.splitting",
        "paleo_opt.cli.studies",
        "paleo_opt.cli.studying",
        "paleo_opt.cli.timeline",
        "paleo_opt.cli.tune",
        "paleo_opt.cli.validate",
        "paleo_opt.cli.values",
        "paleo_opt.cli.worker",
    }


@pytest.mark.parametrize("words", [
    ("estimate", "resnet50", "--on", "p4d.24xlarge", "--layers"),
    ("estimate", "resnet50", "--on", "p4d.24xlarge", "--json"),
    ("scaling", "resnet50", "--on", "p4d.24xlarge"),
    ("sensitivity", "resnet50", "--on", "p4d.24xlarge"),
    ("split", "alexnet", "--on", "owt-8xk20", "--global-batch", "1024", "--objective", "sequence"),
])  # fmt: skip
def test_an_estimate_needs_no_optimizer_and_no_rich(words: tuple[str, ...]) -> None:
    assert not {"optuna", "scipy", "rich", "asyncio", "logging"} & imported(run(*words))


@pytest.mark.parametrize("words", [
    ("list", "nets"), ("list", "devices"), ("list", "clusters"), ("list", "links"), ("show", "resnet50"),
    ("show", "p4d.24xlarge"),
])  # fmt: skip
def test_listing_needs_no_numpy(words: tuple[str, ...]) -> None:
    assert not {"numpy", "optuna", "scipy", "rich", "asyncio", "logging"} & imported(run(*words))
