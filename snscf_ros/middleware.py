# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds the environment variables with which Fast DDS and the allocator let camera images through.

By default Fast DDS has a shared-memory segment of 0.5 MB. An image does not fit, goes over the loopback in fragments,
and a best-effort subscription loses most of them. glibc returns the memory of every big message to the kernel and
fetches fresh pages for the next one, which more than doubles the cost of receiving an image.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

# the variable that each generation of Fast DDS reads, by the folder that it installs under share/
PROFILE_VARIABLES = {
    "fastrtps": "FASTRTPS_DEFAULT_PROFILES_FILE",  # Fast DDS 2: Humble, Jazzy
    "fastdds": "FASTDDS_DEFAULT_PROFILES_FILE",  # Fast DDS 3: Kilted and later, which warn about the old name
}
ALLOCATOR_VARIABLES = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}

# segment_size of config/fastdds_shm.xml with its bookkeeping, for the camera's process, the tracker's and one viewer
_SHARED_MEMORY_NEEDED = 3 * 68 * 1024 * 1024
_SHARED_MEMORY = Path("/dev/shm")
_TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
_CHOICES = (*PROFILE_VARIABLES.values(), _TRANSPORTS)

_left_out = False  # whether this process changed what the environment says of shared memory


def profile_environment(profile: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that make Fast DDS use `profile`; empty where the user has chosen or it cannot work.

    The user has chosen if there is a profile under either name, or FASTDDS_BUILTIN_TRANSPORTS. The profile cannot work
    where /dev/shm is smaller than the segments (Docker's default is 64 MB): Fast DDS would then use no shared memory.
    """
    if any(environment.get(name) for name in _CHOICES):
        return {}
    if not shared_memory_suffices():
        return {}
    return {name: str(profile) for name in _variables_read_here(environment)}


def leave_out_shared_memory(profile: Path, environment: MutableMapping[str, str] = os.environ) -> None:
    """Change the variables of this process where Fast DDS could not have the shared memory that they ask for.

    It would print errors and use none. Without our profile it takes little, and with UDPv4 it asks for none. What the
    user has chosen besides our profile stays.
    """
    global _left_out
    chosen = [environment[name] for name in _CHOICES if environment.get(name)]
    if any(Path(text) != profile for text in chosen):
        return
    writable = os.access(_SHARED_MEMORY, os.W_OK)
    if chosen and not (writable and shared_memory_suffices()):
        for name in PROFILE_VARIABLES.values():
            environment.pop(name, None)
        _left_out = True
    if not writable:
        environment[_TRANSPORTS] = "UDPv4"
        _left_out = True


def _variables_read_here(environment: Mapping[str, str]) -> list[str]:
    """Return the variable that the installed Fast DDS reads, both where that is not known."""
    prefixes = [*filter(None, environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    installed = [
        name for folder, name in PROFILE_VARIABLES.items() if any(Path(p, "share", folder).is_dir() for p in prefixes)
    ]
    return installed or list(PROFILE_VARIABLES.values())


def allocator_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that make glibc keep the memory of big messages; empty where the user has tuned malloc."""
    if any(environment.get(name) for name in ALLOCATOR_VARIABLES):
        return {}
    if "glibc.malloc" in environment.get("GLIBC_TUNABLES", ""):
        return {}
    return dict(ALLOCATOR_VARIABLES)


def advice(profile: Path, implementation: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return one sentence of advice if this process will lose most big images, None if all is well.

    implementation: the middleware's name, from `rclpy.get_rmw_implementation_identifier`.
    """
    if not implementation.startswith("rmw_fastrtps"):
        return None
    if any(environment.get(name) for name in _CHOICES) and not _left_out:
        return None
    if not os.access(_SHARED_MEMORY, os.W_OK):
        return (
            f"{_SHARED_MEMORY} cannot be written to, so images go through the network, where Fast DDS loses most of"
            " more than 0.5 MB; mount it writable"
        )
    if not shared_memory_suffices():
        return (
            f"{_SHARED_MEMORY} has less than {_SHARED_MEMORY_NEEDED >> 20} MB free, so Fast DDS loses most images of "
            "more than 0.5 MB; make it bigger (Docker: --shm-size=1g or --ipc=host)"
        )
    variables = " and ".join(_variables_read_here(environment))
    return (
        "Fast DDS loses most images of more than 0.5 MB unless its shared memory is made bigger: use ros2 launch, or"
        f" set {variables} to {profile} for this node and for the camera"
    )


def shared_memory_suffices(folder: Path = _SHARED_MEMORY) -> bool:
    """Return whether the shared-memory file system has room for the segments of a camera, a tracker and a viewer."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize >= _SHARED_MEMORY_NEEDED
