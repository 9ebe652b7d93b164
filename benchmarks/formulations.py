"""How far the three computations called TDDS differ on one trajectory.

    python benchmarks/formulations.py SOURCE --T 10 --K 5

Prints, for each pair, Spearman's rank correlation of the scores and the share of the coreset that both keep.
"""

import argparse
import itertools

from scipy.stats import spearmanr

from tdds import open_trajectory
from tdds.engine import compute_scores
from tdds.samplers import count_kept, top
from tdds.scores import FORMULATIONS, TDDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--T", type=int)
    parser.add_argument("--K", type=int, default=10)
    asked = parser.parse_args()
    trajectory = open_trajectory(asked.source)
    scores = compute_scores(trajectory, {name: TDDS(asked.T, asked.K, formulation=name) for name in FORMULATIONS})
    print(f"{trajectory!r}, T={asked.T}, K={asked.K}")
    print("| | Spearman | shared at p = .5 | .7 | .9 |\n|---|---|---|---|---|")
    for one, other in itertools.combinations(FORMULATIONS, 2):
        shared = []
        for rate in (0.5, 0.7, 0.9):
            n_kept = count_kept(trajectory.n_samples, rate)
            kept = set(top(scores[one], n_kept)) & set(top(scores[other], n_kept))
            shared.append(f"{len(kept) / n_kept:.1%}")
        correlation = spearmanr(scores[one], scores[other]).statistic
        print(f"| {one}, {other} | {correlation:.3f} | {' | '.join(shared)} |")


if __name__ == "__main__":
    main()
