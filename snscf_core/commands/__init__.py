# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Implements the command line of ``snscf``: track, eval, train and export."""
