"""Stored studies for a reader: a list of them, and one in detail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from paleo_opt.quantities import format_time
from paleo_opt.report import terminal
from paleo_opt.report.recommendation import importance_texts
from paleo_opt.report.terminal import Column, bold, dim
from paleo_opt.search.budgets import LIMITED, budget_text
from paleo_opt.search.importance import Importance, shares_of
from paleo_opt.studies.kept import IDENTITY, Listed, listed
from paleo_opt.studies.storage import shown

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Detailed:
    """One study.

    Attributes:
        summary: In a line.
        identity: What it is about.
        best: Its best feasible trials, the best first.
        importance: Of its variables; None for too few trials.
        strategies: Evaluated in all trials; 0 where they do not say.
        seconds: All its trials took together.
        workers: Processes that ran its trials.
    """

    summary: Listed
    identity: Mapping[str, Any]
    best: tuple[FrozenTrial, ...]
    importance: Importance | None
    strategies: int
    seconds: float
    workers: int


def detailed(study: optuna.Study, top: int) -> Detailed:
    """A study with its ``top`` best trials."""
    from paleo_opt.studies.sampler import is_feasible

    trials = study.get_trials(deepcopy=False)
    best = sorted((t for t in trials if is_feasible(t)), key=lambda trial: (trial.value, trial.number))
    durations = [trial.duration.total_seconds() for trial in trials if trial.duration is not None]
    return Detailed(
        summary=listed(study),
        identity=study.user_attrs.get(IDENTITY, {}),
        best=tuple(best[:top]),
        importance=shares_of(study),
        strategies=sum(int(trial.user_attrs.get("strategies", 0)) for trial in trials),
        seconds=sum(durations),
        workers=len({trial.user_attrs["worker"] for trial in trials if "worker" in trial.user_attrs}),
    )


def _state(study: Listed) -> str:
    if study.ended:
        return study.ended.partition(":")[0]
    return f"{study.running:,} running" if study.running else "to be resumed" if study.finished else "not begun"


def _time(at: datetime | None) -> str:
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _value(value: float | None, identity: Mapping[str, Any]) -> str:
    """A trial's value in the unit of what its study minimizes."""
    if value is None:
        return "–"
    name = next((name for name, goal in LIMITED.items() if goal == identity.get("goal")), None)
    if name is not None:
        return budget_text(name, value)
    return format_time(value) if identity.get("goal") == "step time" else f"{value:.6g}"


def render_list(studies: Sequence[Listed], storage: str, room: int | None = None) -> str:
    """All studies of a storage as a table."""
    room = room or terminal.width()
    if not studies:
        return f"{shown(storage)} keeps no studies"
    columns = [
        Column("study"),
        Column("trials", right=True),
        Column("best", right=True),
        Column("state"),
        Column("last"),
    ]
    rows = [
        [
            study.name,
            f"{study.finished:,}" + ("" if study.planned is None else f" of {study.planned:,}"),
            _value(study.best, {"goal": study.goal}),
            _state(study),
            _time(study.last),
        ]
        for study in studies
    ]
    return "\n".join(terminal.table(columns, rows, room))


def render_detail(study: Detailed, room: int | None = None) -> str:
    """One study as text: how far it is, its best trials, and what matters."""
    room = room or terminal.width()
    summary, identity = study.summary, study.identity
    about = [str(identity[key]) for key in ("network", "budget") if identity.get(key)]
    goal = [f"least {identity['goal']}"] if identity.get("goal") else []
    lines = [bold(line) for line in terminal.joined([summary.name, *about, *goal], room)]
    planned = "" if summary.planned is None else f" of {summary.planned:,}"
    parts = [f"{summary.finished:,}{planned} trials", summary.ended or _state(summary)]
    if summary.failed:
        parts.append(f"{summary.failed:,} lost or interrupted")
    if study.strategies:
        parts.append(f"{study.strategies:,} strategies evaluated")
    parts.append(f"{format_time(study.seconds)} of work" if study.seconds else "no work yet")
    if study.workers > 1:
        parts.append(f"{study.workers:,} processes")
    lines += terminal.joined(parts, room, "  ")
    if study.best:
        # What the indices of a search's variables stand for is told by its strategies.
        told = [_strategy(trial.user_attrs) for trial in study.best]
        names = [] if all(told) else list(study.best[0].params)
        columns = [Column("trial"), Column("value"), *(Column(name, keep=2) for name in names)]
        columns.append(Column("strategy", right=False, shrinks_to=30, constant=False))
        rows = [
            [
                f"{trial.number + 1:,}",
                _value(trial.value, identity),
                *(f"{trial.params[name]:.6g}" for name in names),
                strategy,
            ]
            for trial, strategy in zip(study.best, told, strict=True)
        ]
        lines += terminal.table(columns, rows, room, "  ")
    else:
        lines.append("  no feasible trial yet")
    for text in importance_texts(study.importance):
        lines += ["  " + line for line in terminal.wrapped(text, room - 2, "  ")]
    for key, value in identity.items():
        if key in ("space", "strategies", "shards", "paleo-opt"):
            text = f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}"
            lines.append(dim(f"  {text}"))
    return "\n".join(lines)


def _strategy(attributes: Mapping[str, Any]) -> str:
    """The strategy of a trial in short, of what its attributes say."""
    found = attributes.get("strategy")
    if not isinstance(found, Mapping):
        return ""
    cluster, gpus = found.get("cluster"), found.get("gpus")
    parts = [f"{gpus:,} GPUs of {cluster}"] if cluster is not None and isinstance(gpus, int) else []
    degrees = ("data", "tensor", "pipeline", "context", "expert")
    parts += [f"{name} {found[name]:,}" for name in degrees if isinstance(found.get(name), int) and found[name] > 1]
    if found.get("micro_batch"):
        parts.append(f"micro-batch {found['micro_batch']}")
    return " · ".join(parts)


def list_json(studies: Sequence[Listed]) -> dict[str, Any]:
    """All studies of a storage."""
    return {"studies": [_listed_json(study) for study in studies]}


def _listed_json(study: Listed) -> dict[str, Any]:
    return {
        "name": study.name,
        "command": study.command or None,
        "network": study.network or None,
        "trials": study.finished,
        "running_trials": study.running,
        "failed_trials": study.failed,
        "planned_trials": study.planned,
        "minimized": study.goal or None,
        "best": study.best,
        "ended": study.ended or None,
        "started": None if study.started is None else study.started.isoformat(),
        "last": None if study.last is None else study.last.isoformat(),
    }


def detail_json(study: Detailed) -> dict[str, Any]:
    """One study."""
    return {
        **_listed_json(study.summary),
        "identity": dict(study.identity),
        "strategies": study.strategies,
        "work_s": study.seconds,
        "workers": study.workers,
        "importance": None if study.importance is None else study.importance.to_json(),
        "best_trials": [
            {
                "number": trial.number,
                "value": trial.value,
                "variables": dict(trial.params),
                "attributes": dict(trial.user_attrs),
            }
            for trial in study.best
        ],
    }
