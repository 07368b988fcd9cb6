# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training data: published data sets, read and kept decoded on one device, and the pairs made from them."""
