# Sourced by create.sh and run.sh: which Python and which ROS 2 the private environment stands on.

version_range='3.10 to 3.14'

say() { printf 'environment: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

in_version_range() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }

# The interpreter behind a command (virtual environments and wrapper scripts resolved), and its version.
interpreter() {
  "$1" -c 'import os, platform, sys
print(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable), platform.python_version(), sep="\n")'
}

# The Python that the sourced ROS 2 is for; fails where there is none.
system_ros_python() {
  [ -n "${ROS_DISTRO:-}" ] && [ -n "${AMENT_PREFIX_PATH:-}" ] || return 1
  local candidate
  for candidate in ${PYTHON:-python3 /usr/bin/python3}; do
    command -v "$candidate" >/dev/null && in_version_range "$candidate" || continue
    candidate=$(interpreter "$candidate" | sed -n 1p)
    "$candidate" -c 'import rclpy, vision_msgs.msg' >/dev/null 2>&1 && { echo "$candidate"; return; }
  done
  return 1
}

# The first Python in the supported range that can make a virtual environment and be built against, else the first.
wheel_python() {
  local candidate first=
  for candidate in ${PYTHON:-python3 python3.12 python3.13 python3.14 python3.11 python3.10 /usr/bin/python3}; do
    command -v "$candidate" >/dev/null && in_version_range "$candidate" || continue
    candidate=$(interpreter "$candidate" | sed -n 1p)
    "$candidate" -c 'import os, sysconfig, venv, ensurepip
raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null \
      && { echo "$candidate"; return; }
    first=${first:-$candidate}
  done
  [ -n "$first" ] && echo "$first"
}

# Forgets any ROS 2 of the calling shell, so that only the wheels are seen.
leave_sourced_ros() {
  local kept='' entry prefix inside
  local IFS=:
  for entry in ${LD_LIBRARY_PATH:-}; do
    inside=
    for prefix in ${AMENT_PREFIX_PATH:-}; do
      case $entry/ in "$prefix"/*) inside=yes ;; esac
    done
    [ -n "$inside" ] || kept=${kept:+$kept:}$entry
  done
  if [ -n "$kept" ]; then export LD_LIBRARY_PATH=$kept; else unset LD_LIBRARY_PATH; fi
  unset PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH \
    ROS_DISTRO RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE
}

# Makes the environment at $1, which stands on ROS 2 as $2 says (wheels or system), the current one.
enter() {
  local venv=$1
  if [ "$2" = system ]; then
    export LD_LIBRARY_PATH=$venv/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export AMENT_PREFIX_PATH=$venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}
    export CMAKE_PREFIX_PATH=$venv${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
  else
    leave_sourced_ros
    export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
  fi
  export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
}
