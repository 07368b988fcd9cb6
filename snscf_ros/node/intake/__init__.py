# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the image messages of the cameras, and keeps the last ones."""
