#!/usr/bin/env bash
# Models of long contexts on a machine without network, in one run: operators of attention, Hyena and H3 by length, ours
# and PyTorch's; then generation of an H3 hybrid, Hyena in its forms, and transformers of the same width and depth, by
# context and batch, and from which length exact Hyena's convolution is faster online. What keeping states costs comes after. Whatever is done when it is cut short is in OUT, as JSON lines; tables and a plot come last, and after
# every part.
#
#   OUT=results VK_DRIVER_FILES=/path/to/nvidia_icd.json bash bench/gpu/long_context.sh
#
#   PROVIDER  ours, default dawn;  WIDTH default 2048;  LAYERS default 24
#   LENGTHS   of operators, default "2048 8192 32768 65536"
#   CONTEXTS, BATCHES of generation, default "1024 8192 32768" and "1 64";  FAMILIES in their order
#   ONLINE_CONTEXTS of one layer's convolution, online against directly, default "1024 2048 4096 8192 16384 32768"
#   MEMORY    GB for contexts, default 110;  PYTORCH_DEVICE default cuda;  WARM_UP milliseconds, default 600
#   SECONDS_IN_ALL  no part begins later than this, default 440;  STEP_SECONDS limit of one part, default 150
#   WORK, PYTHON as for run_all.sh
set -uo pipefail
. "$(dirname "$0")/environment.sh"
export STEP_SECONDS=${STEP_SECONDS:-150}
width=${WIDTH:-2048} lengths=${LENGTHS:-2048 8192 32768 65536} warm_up=${WARM_UP:-600}
online_contexts=${ONLINE_CONTEXTS:-1024 2048 4096 8192 16384 32768}
contexts=${CONTEXTS:-1024 8192 32768} batches=${BATCHES:-1 64}
rm -f "$out/ours.jsonl" "$out/pytorch-operators.log" "$out/steps.txt"

# part NAME COMMAND...: a step, unless it is too late for it; its figures as soon as it is done.
part() {
  if [ "$SECONDS" -gt "${SECONDS_IN_ALL:-440}" ]; then
    echo "$1: left out, $SECONDS s are over" | tee -a "$out/steps.txt"
    failed=1
    return
  fi
  step "$@"
  grep -hE '^\||^\{|rror|left out|does not fit|loaded in' "$out/$1.log" | grep -v '^| ---' | cut -c1-300
  tables > "$out/table.md" 2>&1
}
tables() {
  "${deno[@]}" bench/gpu/long_context_table.ts "$out"
}

part operators "${deno[@]}" bench/gpu/operators.ts --device "${PROVIDER:-dawn}" --width "$width" \
  --lengths "${lengths// /,}" --warm-up "$warm_up" --json "$out/ours.jsonl"
part pytorch-operators "$python" bench/peers/pytorch_operators.py --width "$width" --lengths $lengths \
  --device "${PYTORCH_DEVICE:-cuda}"
for family in ${FAMILIES:-h3 multi-head hyena-modal hyena-online hyena-direct multi-query}; do
  part "generation-$family" "${deno[@]}" bench/gpu/generation.ts --device "${PROVIDER:-dawn}" --families "$family" \
    --width "$width" --layers "${LAYERS:-24}" --contexts "${contexts// /,}" --batches "${batches// /,}" \
    --memory "${MEMORY:-110}" --warm-up "$warm_up" --json "$out/ours.jsonl"
done
part online-convolution "${deno[@]}" bench/gpu/online_convolution.ts --device "${PROVIDER:-dawn}" --width "$width" \
  --contexts "${online_contexts// /,}" --batches "${batches// /,}" --json "$out/ours.jsonl"
part kept-states "${deno[@]}" bench/gpu/kept_states.ts --device "${PROVIDER:-dawn}" --width "$width" \
  --layers "${LAYERS:-24}" --json "$out/ours.jsonl"
echo "=== $gpu, commit $HYADES_COMMIT"
tables | tee "$out/table.md"
exit $failed
