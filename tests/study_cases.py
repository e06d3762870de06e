"""Problems for studies: small, deterministic, and slow where a test needs the time to interrupt them."""

from __future__ import annotations

import sys
import time

from paleo_opt.studies.kept import Kept
from paleo_opt.studies.problem import Outcome, Point, StudyProblem, Variable
from paleo_opt.studies.run_kept import run_kept


def valley(seconds: float = 0.0, **changes: object) -> StudyProblem:
    """A valley over two whole numbers and a real one, least (1.0) at x 37, y 3, z 0.5; x above 80 does not fit."""

    def solve(point: Point) -> Outcome:
        time.sleep(seconds)
        value = 1.0 + (point["x"] - 37) ** 2 / 100 + abs(point["y"] - 3) + abs(point["z"] - 0.5)
        return Outcome(value, {"memory": point["x"] / 80 - 1.0}, {"strategies": 5, "half": point["x"] / 2}, "rows")

    given: dict[str, object] = {
        "variables": {"x": Variable(0, 99), "y": Variable(0, 9), "z": Variable(0.0, 1.0, integer=False)},
        "solve": solve,
        "identity": {"network": "valley", "goal": "height", "strategies": 99},
    }
    return StudyProblem(**(given | changes))  # type: ignore[arg-type]


def shards(count: int, seconds: float = 0.0, name: str = "shards") -> StudyProblem:
    """So many points, each to be tried once; the seventh is best."""

    def solve(point: Point) -> Outcome:
        time.sleep(seconds)
        return Outcome(abs(point["shard"] - 7.0), {}, {"strategies": 10}, f"result of {point['shard']:.0f}")

    return StudyProblem(
        variables={"shard": Variable(0, count - 1)},
        solve=solve,
        identity={"network": name, "shards": count},
        every=[{"shard": shard} for shard in range(count)],
    )


if __name__ == "__main__":
    where, how_many, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    run_kept(shards(how_many, pause), Kept(where, "study", heartbeat=1), trials=how_many)
