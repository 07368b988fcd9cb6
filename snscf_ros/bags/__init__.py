# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Recordings: evaluates the tracker on them, and makes them from sequences and videos."""
