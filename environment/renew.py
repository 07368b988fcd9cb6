# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes wheels-DISTRO.txt anew, for each DISTRO given: the newest wheels that the ranges in wheels-DISTRO.in allow.

usage: make wheels, or bash environment/run.sh python environment/renew.py jazzy kilted
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+)(?P<extras>\[.*\])?~=.*$", re.MULTILINE)


def newest(ranges: Path) -> dict[str, str]:
    """The version that pip would install of every package, by name, were nothing installed yet."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    options = ["--dry-run", "--ignore-installed", "--report", "-", "-r", str(ranges)]
    report = subprocess.run([*pip, *options], check=True, stdout=subprocess.PIPE, text=True).stdout
    packages = (package["metadata"] for package in json.loads(report)["install"])
    return {package["name"].lower().replace("_", "-"): package["version"] for package in packages}


def locked(ranges: str, versions: dict[str, str]) -> str:
    """The lines of `ranges` with the version of each package in place of its range."""
    return _REQUIREMENT.sub(lambda match: f"{match['name']}{match['extras'] or ''}=={versions[match['name']]}", ranges)


def main(distros: list[str]) -> None:
    for distro in distros:
        ranges = _HERE / f"wheels-{distro}.in"
        text = locked(ranges.read_text(encoding="utf-8"), newest(ranges))
        ranges.with_suffix(".txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
