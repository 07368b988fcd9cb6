# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the demonstration: ``python -m snscf_ros.demo``."""

import sys

from snscf_ros.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
