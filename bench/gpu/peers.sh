#!/usr/bin/env bash
# Ours against PyTorch, llama.cpp's Vulkan backend and onnxruntime-web's WebGPU provider, one after the other on one
# machine without network: a random 1.1 B checkpoint in f16, decode steps and prefills. Prints one table last, ours over
# theirs beside the ratio that is asked for. A peer that is missing or fails says so and is left out.
#
#   OUT=results VK_DRIVER_FILES=/path/to/nvidia_icd.json bash bench/gpu/peers.sh
#
#   PEERS       default "pytorch llama ort"; llama needs .carry-peers/ (pack_peers.sh), unpacked into WORK once
#   PROVIDER    ours, default dawn
#   CHECKPOINT  flags of make_checkpoint.py;  CONTEXT default 512;  PREFILL default "512 2048 8192"
#   BATCHES     default "1 8 32 64";  STEPS of a peer's decode, default 64
#   WORK, PYTHON, STEP_SECONDS as for run_all.sh
set -uo pipefail
. "$(dirname "$0")/environment.sh"
batches=${BATCHES:-1 8 32 64} context=${CONTEXT:-512} prefill=${PREFILL:-512 2048 8192} steps=${STEPS:-64}
rm -f "$out/ours.jsonl"

# left_out PEER REASON
left_out() {
  echo "$1 is left out: $2"
}

# The last line of a log that names an error, or else its last line.
why() {
  { tail -n 1 "$out/$1.log"; grep -E 'rror|xception' "$out/$1.log"; } | tail -n 1 | cut -c1-300
}

measure_ours() {
  step ours "$python" bench/gpu/make_checkpoint.py "$work/random" ${CHECKPOINT:-} || exit 1
  step ours "${deno[@]}" bench/gpu/compare.ts --model "$work/random" --device "${PROVIDER:-dawn}" --seconds 1 \
    --batches "${batches// /,}" --contexts "$context" --prefill "${prefill// /,}" --json "$out/ours.jsonl"
}

measure_pytorch() {
  step pytorch "$python" bench/peers/pytorch_gpu.py "$work/random" --modes graph --batch $batches \
    --context "$context" --prefill $prefill --steps "$steps" || left_out PyTorch "$(why pytorch)"
}

measure_llama() {
  if [ ! -x "$work/llama/llama-batched-bench" ]; then
    local packed=$here/.carry-peers/llama.tar.xz
    [ -e "$packed" ] || { left_out llama.cpp "bench/gpu/pack_peers.sh has not made .carry-peers/"; return; }
    tar -C "$work" -xJf "$packed"
  fi
  PYTHONPATH=$work/llama step llama "$python" bench/peers/export_gguf.py "$work/random" "$work/random.gguf" --dtype f16 &&
    step llama "${deno[@]}" bench/peers/llama_vulkan.ts "$work/llama/llama-batched-bench" "$work/random.gguf" \
      --batch "${batches// /,}" --context "$context" --steps "$steps" || left_out llama.cpp "$(why llama)"
}

measure_ort() {
  step ort "$python" bench/peers/export_onnx.py "$work/random" "$work/onnx" --dtypes fp16 &&
    step ort "${deno[@]}" bench/peers/ort_webgpu.ts "$work/onnx" --batch 1 --context "$context,2048" \
      --steps "$steps" --dtype fp16 || left_out onnxruntime-web "$(why ort)"
}

measure_ours
for peer in ${PEERS:-pytorch llama ort}; do "measure_$peer"; done
echo "=== $gpu, commit $HYADES_COMMIT"
"${deno[@]}" bench/gpu/peers_table.ts "$out" --context "$context" | tee "$out/table.md"
exit $failed
