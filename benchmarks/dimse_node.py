"""`dimse_node.py ARGUMENTS`: the `dimse` command, with the modules that are in the way."""

from __future__ import annotations

import sys

from dimse.cli import app

if __name__ == "__main__":
    sys.exit(app.run(sys.argv[1:]))
