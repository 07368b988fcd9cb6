# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reports on evaluations: tables, plots, contact sheets and pages."""
