#!/usr/bin/env bash
# A random checkpoint of StarCoder's size (15.5 B: 40 layers, 6144 wide, 48 heads, f16, 31 GB) on a machine without network:
# how fast it is made, read and brought onto the GPU, its greedy tokens against PyTorch in f32, its decode step as a share of
# what the memory can deliver; then the same shapes in int4. Figures last.
#
#   OUT=results VK_DRIVER_FILES=/path/to/nvidia_icd.json bash bench/gpu/large.sh
#
#   CHECKPOINT  flags of make_checkpoint.py (a smaller checkpoint);  BANDWIDTH  TB/s, default 4.3 (an H200's)
#   PARTS       default "load reference f16 int4"; "webgpu" adds the built-in provider
#   COMPARE     further flags of compare.ts;  ROUNDS of the load, default 1
set -uo pipefail
. "$(dirname "$0")/environment.sh"
export STEP_SECONDS=${STEP_SECONDS:-240}
shape=${CHECKPOINT:---layers 40 --width 6144 --heads 48}
has() { [[ " ${PARTS:-load reference f16 int4} " == *" $1 "* ]]; }
compare() {
  local name=$1 model=$2
  shift 2
  step "$name" "${deno[@]}" bench/gpu/compare.ts --model "$model" --contexts 64,512 --batches 1 --prefill 512 --seconds 1 \
    --bandwidth "${BANDWIDTH:-4.3}" --json "$out/large.jsonl" "$@" ${COMPARE:-}
}

df -h "$work" | tail -1
step large-checkpoint "$python" bench/gpu/make_checkpoint.py "$work/large" $shape || exit 1
has load && step large-load "${deno[@]}" bench/gpu/load.ts --model "$work/large" --device dawn --rounds "${ROUNDS:-1}"
reference=()
has reference && step large-reference "$python" bench/gpu/reference.py "$work/large" "$work/large.json" &&
  reference=(--reference "$work/large.json")
has f16 && compare large-f16 "$work/large" --device dawn "${reference[@]}"
has webgpu && compare large-webgpu "$work/large" --device webgpu "${reference[@]}"
if has int4; then
  step large-int4-checkpoint "$python" bench/gpu/make_checkpoint.py "$work/large-int4" --int4 $shape &&
    compare large-int4 "$work/large-int4" --device dawn
fi
echo "=== $gpu, commit $HYADES_COMMIT"
for log in "$out"/large-*.log; do
  echo "--- $(basename "$log" .log)" && grep -E '^\||GB written|page cache|distinct|loaded in|^tokens|rror' "$log"
done
exit $failed
