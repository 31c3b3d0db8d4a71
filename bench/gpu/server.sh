#!/usr/bin/env bash
# The whole server against the bare loop of steps on a machine without network, with a random 1.1 B checkpoint.
#
#   OUT=results VK_DRIVER_FILES=/path/to/nvidia_icd.json bash bench/gpu/server.sh [flags of server.ts]
#
#   CHECKPOINT  flags of make_checkpoint.py (a smaller checkpoint);  DEVICE default dawn
set -uo pipefail
. "$(dirname "$0")/environment.sh"
STEP_SECONDS=${STEP_SECONDS:-400}
step checkpoint "$python" bench/gpu/make_checkpoint.py "$work/random" ${CHECKPOINT:-} || exit 1
step server "${deno[@]}" bench/gpu/server.ts --model "$work/random" --device "${DEVICE:-dawn}" \
  --json "$out/server.jsonl" "$@"
echo "=== $gpu, commit $HYADES_COMMIT"
tail -20 "$out/server.log"
exit $failed
