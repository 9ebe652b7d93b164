"""What several methods in one reading cost beside TDDS alone, reading included.

    python benchmarks/methods.py SOURCE --labels SOURCE::labels

CPU seconds of one thread, in turn, so that a noisy neighbour meets both; medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time

from tdds import open_trajectory, score_trajectory
from tdds.scores import METHODS
from tdds.tables import read_column

SETS = {
    "tdds": ["tdds"],
    "five": ["forgetting", "aum", "el2n", "dyn_unc", "entropy"],
    "all": [name for name in METHODS if name not in ("moderate", "random")],  # which read no epoch
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--labels", required=True)
    parser.add_argument("--K", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    y = read_column(asked.labels)
    seconds: dict[str, list[float]] = {name: [] for name in SETS}
    for _ in range(asked.rounds + 1):  # the first compiles
        for name, methods in SETS.items():
            began = time.process_time()
            score_trajectory(asked.source, y, method=methods, K=asked.K, n_jobs=1)
            seconds[name].append(time.process_time() - began)
    print(f"{open_trajectory(asked.source)!r}, K={asked.K}, medians of {asked.rounds}")
    for name, methods in SETS.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[name][1:], seconds["tdds"][1:], strict=True))
        print(f"{statistics.median(seconds[name][1:]):.3f} s, {ratio:.2f} x tdds: {', '.join(methods)}")


if __name__ == "__main__":
    main()
