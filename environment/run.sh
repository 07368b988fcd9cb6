#!/usr/bin/env bash
# usage: environment/run.sh COMMAND [ARGUMENT ...]
# Runs a command in the private environment, which is made first where it is missing or out of date.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/ros.sh"
bash "$here/create.sh"
venv=${here%/*}/.venv
read -r kind <"$venv/.made/kind"
enter "$venv" "$kind"
exec "$@"
