# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes a pack of training pictures out of snapshots of public repositories; see ../README.md, *A pack*."""
