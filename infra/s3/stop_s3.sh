#!/usr/bin/env bash
# Stops the server that start_s3.sh started with this folder; does nothing if there is none.
set -euo pipefail
state="$(cd "${1:?usage: stop_s3.sh FOLDER}" && pwd)"

# a process id may have been reused; only a process that was started with this folder is ours
is_ours() { tr '\0' '\n' 2> /dev/null < "/proc/$1/environ" | grep -qxF "CEPH_CONF=$state/ceph.conf"; }

for file in "$state"/run/*.pid; do
  [ -e "$file" ] || continue
  process="$(cat "$file")"
  if is_ours "$process"; then
    kill -KILL "$process"  # the state is discarded, so no clean shutdown is needed
    while is_ours "$process"; do sleep 0.05; done
  fi
  rm -f "$file"
done
