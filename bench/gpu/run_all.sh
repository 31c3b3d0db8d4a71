#!/usr/bin/env bash
# Everything the issue asks of a GPU, on a machine without network: greedy parity and speed of a random 1.1 B checkpoint
# and of the default model on both providers, then the benchmark against PyTorch and onnxruntime-web. Full logs go to
# OUT, a short summary is printed last. Ends with 1 when a step failed.
#
#   OUT=results VK_DRIVER_FILES=/path/to/nvidia_icd.json bash bench/gpu/run_all.sh
#
#   WORK        where unpack.sh put Deno and its cache (unpacked from .carry/ when missing)
#   MODEL       the default model's folder; skipped where it is missing
#   CHECKPOINT  flags of make_checkpoint.py (a smaller checkpoint)
#   COMPARE     flags of compare.ts (fewer contexts)
#   BENCH       flags of bench/run.ts (fewer contexts)
#   PROVIDERS   default "dawn webgpu";  PYTHON default python3;  STEP_SECONDS limit of one step, default 200
set -uo pipefail
default=$(sed -n 's/.*DEFAULT_MODEL_ID = "\(.*\)";/\1/p' "$(dirname "$0")/../../cli/default_model.ts")
model=$(realpath -m "${MODEL:-$(dirname "$0")/../../weights/$default}")
. "$(dirname "$0")/environment.sh"

# parity NAME FOLDER: reference, then every provider.
parity() {
  step "$1-reference" "$python" bench/gpu/reference.py "$2" "$work/$1.json"
  for provider in ${PROVIDERS:-dawn webgpu}; do
    step "$1-$provider" "${deno[@]}" bench/gpu/compare.ts --model "$2" --reference "$work/$1.json" \
      --device "$provider" --json "$out/figures.jsonl" ${COMPARE:-}
  done
}

step checkpoint "$python" bench/gpu/make_checkpoint.py "$work/random" ${CHECKPOINT:-}
parity random "$work/random"
for provider in ${PROVIDERS:-dawn webgpu}; do
  step "random-profile-$provider" "${deno[@]}" bench/gpu/profile.ts --model "$work/random" \
    --device "$provider" --trace "$out/random-profile-$provider.json"
done
step random-pytorch "$python" bench/peers/pytorch_gpu.py "$work/random" --modes graph
if [ -e "$model/model.safetensors" ]; then
  parity default "$model"
  peers="--peers pytorch,ort-webgpu"
  for provider in ${PROVIDERS:-dawn webgpu}; do
    step "bench-$provider" "${deno[@]}" bench/run.ts --device "$provider" --model "$model" --python "$python" \
      --json "$out/figures.jsonl" $peers ${BENCH:-}
    peers="--peers none" # measured once; they do not depend on our provider
  done
fi

echo "=== $gpu, commit $HYADES_COMMIT"
for log in "$out"/random-*.log "$out"/default-*.log "$out"/bench-*.log; do
  [ -e "$log" ] && echo "--- $(basename "$log" .log)" && grep -E '^\||^\{|^in all|^tokens|distinct|loaded|error|Error|not measured' "$log"
done | tee "$out/summary.txt"
exit $failed
