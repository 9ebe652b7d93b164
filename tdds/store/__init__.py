"""The trajectory store: one HDF5 file per epoch and process, written whole or not at all (docs/store.md)."""

from tdds.store.hdf5 import (
    FORMAT,
    FORMAT_VERSION,
    PACKED_FORMAT,
    DirectRows,
    check_local,
    holds_whole_rows,
    open_file,
    opened,
    own_dataset,
    read_column,
    read_ids,
    said,
)
from tdds.store.packed import pack
from tdds.store.reader import (
    HEADER_NAME,
    Shard,
    StoreHeader,
    is_packed,
    is_store,
    list_shards,
    list_splits,
    open_shard,
    part_epochs,
    read_header,
)
from tdds.store.values import LOG8_RANGE, STORED, float32_to_bfloat16, probs_to_log8, widen
from tdds.store.verifier import EpochReport, VerifyReport, verify
from tdds.store.writer import TrajectoryWriter

__all__ = [
    "TrajectoryWriter",
    "StoreHeader",
    "read_header",
    "is_store",
    "is_packed",
    "list_splits",
    "list_shards",
    "open_shard",
    "part_epochs",
    "Shard",
    "open_file",
    "opened",
    "check_local",
    "own_dataset",
    "read_column",
    "read_ids",
    "said",
    "holds_whole_rows",
    "DirectRows",
    "pack",
    "verify",
    "VerifyReport",
    "EpochReport",
    "float32_to_bfloat16",
    "STORED",
    "LOG8_RANGE",
    "probs_to_log8",
    "widen",
    "FORMAT",
    "PACKED_FORMAT",
    "FORMAT_VERSION",
    "HEADER_NAME",
]
