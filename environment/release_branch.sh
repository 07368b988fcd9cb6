#!/usr/bin/env bash
# Lays the two packages side by side on a branch, as the release tools of ROS want them; see docs/releasing.md.
#
#   release_branch.sh [BRANCH]          puts what is committed here on BRANCH (default: ros)
#   release_branch.sh --back [BRANCH]   brings what was committed there since back here, ready to be committed
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"

back=
if [ "${1:-}" = --back ]; then
  back=yes
  shift
fi
branch=${1:-ros}

die() { printf 'release_branch: %s\n' "$*" >&2; exit 1; }

# Prints the tree of HEAD with snscf_msgs/ and snscf_ros/ at its top.
side_by_side() {
  local link ros
  link=$(printf ../snscf_msgs | git hash-object -w --stdin)
  ros=$({ git ls-tree HEAD | grep -v $'\tmsg$'; printf '120000 blob %s\tmsg\n' "$link"; } | git mktree)
  printf '040000 tree %s\tsnscf_msgs\n040000 tree %s\tsnscf_ros\n' "$(git rev-parse HEAD:msg)" "$ros" | git mktree
}

tip=$(git rev-parse --quiet --verify "refs/heads/$branch") || tip=
tree=$(side_by_side)

if [ -z "$back" ]; then
  [ -z "$tip" ] || [ "$(git rev-parse "$tip^{tree}")" != "$tree" ] || die "$branch has all that is committed here"
  message="Lay snscf_ros and snscf_msgs of $(git rev-parse --short HEAD) side by side"
  git branch --force "$branch" "$(git commit-tree "$tree" ${tip:+-p "$tip"} -p HEAD -m "$message")"
  exit
fi

[ -n "$tip" ] || die "there is no branch $branch"
git merge-base --is-ancestor HEAD "$tip" || die "$branch was not made from the newest commit here, whose changes would be undone"
for package in snscf_msgs snscf_ros; do
  git diff --quiet "$tree" "$tip" -- "$package" && continue
  folder=()
  [ "$package" = snscf_ros ] || folder=(--directory=msg)
  git diff --binary --relative="$package" "$tree" "$tip" | git apply --index "${folder[@]}"
done
git status --short
