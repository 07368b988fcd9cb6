# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The network: pure functions of weights and inputs."""
