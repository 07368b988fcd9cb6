# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Starts the command ``snscf``. Missing modules, and Ctrl-C while it is imported, end it without a traceback."""

from __future__ import annotations

import sys

from .requirements import missing


def main() -> int:
    """Runs the command line; returns the exit status."""
    try:
        from .commands.cli import main as run
    except KeyboardInterrupt:
        print("snscf: ended by SIGINT", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("snscf"):
            raise
        print(f"snscf: {missing(error.name)}", file=sys.stderr)
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
