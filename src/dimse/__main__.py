"""The `dimse` script, and `python -m dimse`."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec


def _replace_closed_streams() -> None:
    """Open the null device in place of closed standard streams, whose descriptors the event loop would reuse.

    `sys.stdin` stays None, by which a command recognizes that standard input is closed.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None and os.open(os.devnull, os.O_RDWR) == descriptor and name != "stdin":
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115


def main() -> None:
    """Run the command line and exit with its code."""
    _replace_closed_streams()
    if find_spec("rich") is None and sys.argv[1:] != ["--version"]:
        print('dimse: the command line needs rich; install it with: pip install "dimse[cli]"', file=sys.stderr)  # noqa: T201
        sys.exit(2)
    try:
        from dimse.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
