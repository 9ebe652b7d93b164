"""The experiments of the TDDS paper, on real images: `python -m benchmarks.paper --help` from the repository's root.

settings -> experiments -> run (records, selects, trains, appends rows) -> tables and pictures of the rows.
"""
