"""optuna-dashboard opens a kept study and shows what a reader wants of each trial."""

from __future__ import annotations

import json
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from paleo_opt.search.recommend import recommend
from paleo_opt.studies.kept import Kept
from paleo_opt.studies.storage import open_storage


def get(application: Any, path: str) -> Any:
    """What the dashboard's server answers."""
    environment: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "wsgi.input": BytesIO()}
    setup_testing_defaults(environment)
    status: list[str] = []
    body = b"".join(application(environment, lambda line, *rest: status.append(line)))
    assert status == ["200 OK"], (path, status)
    return json.loads(body)


def test_a_study_with_its_trials_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        from optuna_dashboard import wsgi

    kept = Kept(str(tmp_path / "studies.log"), "small", "recommend")
    answer = recommend("alexnet", budgets=["16gpus"], on=["p4d.24xlarge", "p3.16xlarge"], kept=kept, draws=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        application = wsgi(open_storage(kept.storage))
        (summary,) = get(application, "/api/studies")["study_summaries"]
        shown = get(application, f"/api/studies/{summary['study_id']}")
    assert summary["study_name"] == "small" and shown["objective_names"] == ["time"]
    best = min((trial for trial in shown["trials"] if trial["state"] == "Complete"), key=lambda trial: trial["values"])
    assert float(best["values"][0]) == pytest.approx(answer.recommended.time_s, rel=1e-6)
    attributes = {each["key"]: each["value"] for each in best["user_attrs"]}
    assert float(attributes["cost_usd"]) == pytest.approx(answer.recommended.cost_usd, rel=1e-6)
    assert json.loads(attributes["strategy"])["cluster"] == answer.recommended.strategy.cluster.name
    # What the answer is put together from is not for readers.
    assert not any("result" in key for key in attributes)
