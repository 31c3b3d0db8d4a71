#!/usr/bin/env bash
# int4 against f16 on a machine without network: random checkpoints of 1.1 B on both providers, and where int4's time goes.
#
#   OUT=results VK_DRIVER_FILES=/path/to/nvidia_icd.json bash bench/gpu/int4.sh
#
#   CHECKPOINT  flags of make_checkpoint.py (a smaller checkpoint);  COMPARE  further flags of compare.ts
#   PROFILE     flags of profile.ts;  PROVIDERS  default "dawn webgpu"
set -euo pipefail
. "$(dirname "$0")/environment.sh"
"$python" bench/gpu/make_checkpoint.py "$work/random" ${CHECKPOINT:-}
"$python" bench/gpu/make_checkpoint.py "$work/random-int4" --int4 ${CHECKPOINT:-}
for model in random random-int4; do
  for provider in ${PROVIDERS:-dawn webgpu}; do
    "${deno[@]}" bench/gpu/compare.ts --model "$work/$model" --device "$provider" --contexts 64,512 --prefill 512 \
      --seconds 1 --json "$out/int4.jsonl" ${COMPARE:-}
  done
done
"${deno[@]}" bench/gpu/profile.ts --model "$work/random-int4" --device dawn ${PROFILE:-}
