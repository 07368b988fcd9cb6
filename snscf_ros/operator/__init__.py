# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Serves the operator's page: live video in a browser, in which a person draws a box around a target."""
