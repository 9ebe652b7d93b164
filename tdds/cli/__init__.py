"""The command line: `tdds score run -o scores.h5`, `tdds select scores.h5 --pruning-rate 0.9 -o kept.csv`."""

import signal
import sys
import threading
import warnings
from typing import Any

_STOPPED = 130, 143  # by SIGINT, as typer and shells count, by SIGTERM


def main() -> None:
    """Run the command line. Ctrl-C and SIGTERM, while it is still being imported too, are one line and status 130, 143.

    Temporary files are removed, as at any other end.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        from tdds.cli.commands import run

        run()
    except (KeyboardInterrupt, SystemExit) as stop:
        if (status := getattr(stop, "code", _STOPPED[0])) not in _STOPPED:
            raise
        warnings.simplefilter("ignore")  # joblib's, of tasks that are done and not used
        print(
            "tdds: interrupted; the output is as it was. The same command starts anew, `tdds score` from the samples "
            "that it has kept.",
            file=sys.stderr,
        )
        for thread in set(threading.enumerate()) - {threading.current_thread()}:
            thread.join(5)  # the interpreter's end would wait for ever for HDF5's lock, were one stopped that holds it
        sys.exit(status)


def _terminate(*received: Any) -> None:
    raise SystemExit(_STOPPED[1])
