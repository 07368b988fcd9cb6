# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines the error of the training, for commands that catch it and have no torch."""


class TrainingError(RuntimeError):
    """Says in one sentence why training can't continue."""
