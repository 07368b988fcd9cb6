# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines the network: pure functions of weights and inputs."""
