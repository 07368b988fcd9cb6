# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the simulation: ``python -m snscf_ros.simulation``."""

import sys

from snscf_ros.simulation.command import main

if __name__ == "__main__":
    sys.exit(main())
