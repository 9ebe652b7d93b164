"""Scores and selections as files: what `tdds score`, `combine` and `select` write. Nothing is ever pickled."""

from tdds.tables.columns import read_column
from tdds.tables.combining import check_same_samples, combine_tables
from tdds.tables.files import replacing
from tdds.tables.scores import ScoreTable, check_scores_output, is_scores
from tdds.tables.selections import selection_writer, write_all_rows, write_selection

__all__ = [
    "ScoreTable",
    "check_same_samples",
    "check_scores_output",
    "combine_tables",
    "is_scores",
    "read_column",
    "replacing",
    "selection_writer",
    "write_all_rows",
    "write_selection",
]
