"""asv's benchmarks; ``cd benchmarks && asv run -E existing --quick`` runs them with the environment at hand."""

N_VALUES = 1 << 22
"""Values of a trajectory that is timed; the tests make it small."""
