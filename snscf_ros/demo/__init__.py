# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The demonstration: a camera node, the run of camera and tracker together, and its report."""
