"""Rewrite WebDataset shards to the samples that are kept; every shard is read once, as a stream.

    tdds select scores.h5 --pruning-rate 0.7 -o kept.csv
    python data_tools/webdataset_shards.py "in/*.tar" kept.csv out/

The `ids` of the selection are the samples' keys: the name of a file in the shard up to the first dot after the last
slash. A sample's files are copied byte by byte, in their order, to a shard of the same name; a shard of which nothing
is kept is left out. A key that no shard holds, or that two samples share, is an error, and no shard is then written.
"""

from __future__ import annotations

import argparse
import csv
import glob
import sys
import tarfile
import tempfile
from pathlib import Path


def read_keys(path: Path) -> set[str]:
    """The keys of a selection, from its column `ids`."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if "ids" not in (rows.fieldnames or ()):
            raise ValueError(f"{path}: has no column 'ids'; the trajectory must carry the samples' keys as ids.")
        return {row["ids"] for row in rows}


def key_of(name: str) -> str | None:
    """The key of a member of a shard; None for what belongs to no sample."""
    folder, slash, base = name.rpartition("/")
    stem, dot, _ = base.partition(".")
    return folder + slash + stem if stem and dot else None


def filter_shard(shard: Path, out: Path, kept: set[str], seen: set[str]) -> int:
    """Copy the samples of `shard` whose keys are `kept` to `out`, add their keys to `seen`; how many there were."""
    n_kept, current = 0, None
    mode = "w|gz" if out.suffix in (".gz", ".tgz") else "w|"
    with tarfile.open(shard, "r|*") as source, tarfile.open(str(out), mode) as target:
        for member in source:
            key = key_of(member.name) if member.isfile() else None
            if key in kept:
                if key != current:
                    if key in seen:
                        raise ValueError(f"{shard}: the key {key!r} is that of another sample before it.")
                    seen.add(key)
                    n_kept += 1
                target.addfile(member, source.extractfile(member))
            current = key
    return n_kept


def filter_shards(shards: list[Path], kept: set[str], folder: Path) -> dict[str, int]:
    """Write the kept samples of `shards` to `folder`, all or nothing; how many each shard kept, by its name."""
    names = [shard.name for shard in shards]
    if len(set(names)) < len(names):
        raise ValueError("Two shards have the same name; they would overwrite each other in the folder written to.")
    if folder.resolve() in {shard.resolve().parent for shard in shards}:
        raise ValueError(f"{folder}: holds the shards that are read; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        counts = {shard.name: filter_shard(shard, Path(temporary, shard.name), kept, seen) for shard in shards}
        if missing := kept - seen:
            raise ValueError(f"{len(missing)} of {len(kept)} keys are in no shard, such as {min(missing)!r}.")
        for name, n_kept in counts.items():
            if n_kept:
                Path(temporary, name).replace(folder / name)
            else:  # nor may one of an earlier selection stay
                (folder / name).unlink(missing_ok=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", help="a shard, or a quoted pattern of several")
    parser.add_argument("kept", type=Path, help=".csv that `tdds select` wrote")
    parser.add_argument("out", type=Path, help="folder")
    asked = parser.parse_args()
    shards = [Path(path) for path in sorted(glob.glob(asked.shards))]
    try:
        if not shards:
            raise FileNotFoundError(f"{asked.shards}: no such file.")
        counts = filter_shards(shards, read_keys(asked.kept), asked.out)
    except (OSError, ValueError, tarfile.TarError) as error:
        sys.exit(f"webdataset_shards.py: {error}")
    n_shards = sum(n_kept > 0 for n_kept in counts.values())
    print(f"{sum(counts.values()):,} samples in {n_shards} of {len(shards)} shards: {asked.out}")


if __name__ == "__main__":
    main()
