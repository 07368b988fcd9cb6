# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Evaluates trackers: sequences, the one-pass protocol, and its measures."""
