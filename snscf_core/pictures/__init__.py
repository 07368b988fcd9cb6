# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pictures in files and messages: which files are frames, and their pixels without those that damage has changed."""
