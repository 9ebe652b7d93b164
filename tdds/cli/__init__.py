"""The command line: `tdds score run -o scores.h5`, `tdds select scores.h5 --pruning-rate 0.9 -o kept.csv`."""

import sys
import threading


def main() -> None:
    """Run the command line. Ctrl-C, while it is still being imported too, is one line and exit status 130."""
    try:
        from tdds.cli.commands import run

        run()
    except KeyboardInterrupt:
        print(
            "tdds: interrupted; the output is as it was. The same command starts anew, `tdds score` from the samples "
            "that it has kept.",
            file=sys.stderr,
        )
        for thread in set(threading.enumerate()) - {threading.current_thread()}:
            thread.join(5)  # the interpreter's end would wait for ever for HDF5's lock, were one stopped that holds it
        sys.exit(130)
