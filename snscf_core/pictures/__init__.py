# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads pictures in files and messages: says which files are frames, and refuses pixels that damage has changed."""
