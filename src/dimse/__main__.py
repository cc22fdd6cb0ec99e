"""The `dimse` script, and `python -m dimse`."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line and exit with its code."""
    if find_spec("typer") is None or find_spec("rich") is None:
        print('dimse: the command line needs typer and rich: pip install "dimse[cli]"', file=sys.stderr)  # noqa: T201
        sys.exit(2)
    try:
        from dimse.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
