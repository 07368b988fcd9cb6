# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""How well a tracker does: sequences, the one-pass protocol, and its measures."""
