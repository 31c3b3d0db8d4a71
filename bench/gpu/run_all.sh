#!/usr/bin/env bash
# Every figure that is asked of the GPU path, on a machine without network, in one run: greedy tokens against PyTorch's,
# speed beside peers, single products, int4, 15.5 B, the whole server, and the tests of kernels and models. Full logs go to
# OUT; two tables come last, each figure beside what is asked for. Ends with 1 when a part failed.
#
#   OUT=results VK_DRIVER_FILES=/path/to/nvidia_icd.json bash bench/gpu/run_all.sh
#
#   PARTS       default "greedy peers gemm int4 large server suites default"; the tables have what lies in OUT, so that
#               parts may be run one after the other
#   WORK        where unpack.sh put Deno and its cache (unpacked from .carry/ when missing)
#   MODEL       the default model's folder; left out where it is missing
#   CHECKPOINT  flags of make_checkpoint.py (a smaller checkpoint);  LARGE the same for the large one
#   COMPARE, BENCH, GEMM, SERVER   flags of compare.ts, bench/run.ts, gemm.ts and server.ts (fewer contexts, shorter)
#   PROVIDERS   default "dawn webgpu";  PYTHON default python3;  STEP_SECONDS limit of one step, default 200
# and what the parts' own scripts take.
set -uo pipefail
default=$(sed -n 's/.*DEFAULT_MODEL_ID = "\(.*\)";/\1/p' "$(dirname "$0")/../../cli/default_model.ts")
model=$(realpath -m "${MODEL:-$(dirname "$0")/../../weights/$default}")
. "$(dirname "$0")/environment.sh"
providers=${PROVIDERS:-dawn webgpu}

# part NAME SCRIPT ARGUMENTS...: a part that has a script of its own, which renews the tree.
part() {
  local name=$1 script=$2
  shift 2
  echo "--- $name"
  bash "$here/bench/gpu/$script" "$@" > "$out/$name.txt" 2>&1 || failed=1
  cd "$work/tree"
}

# greedy NAME FOLDER: the reference's tokens, then every provider's, with times.
greedy() {
  step "$1-reference" "$python" bench/gpu/reference.py "$2" "$work/$1.json" || return
  for provider in $providers; do
    step "$1-$provider" "${deno[@]}" bench/gpu/compare.ts --model "$2" --reference "$work/$1.json" --device "$provider" \
      --contexts 64,512 --batches 1,8 --prefill 512 --seconds 1 --json "$out/greedy.jsonl" ${COMPARE:-}
  done
}

run_greedy() {
  step checkpoint "$python" bench/gpu/make_checkpoint.py "$work/random" ${CHECKPOINT:-} && greedy random "$work/random"
}

run_peers() {
  part peers peers.sh
}

run_gemm() {
  step gemm "${deno[@]}" bench/gpu/gemm.ts --types f16 --profiles fast --json "$out/gemm.jsonl" ${GEMM:-}
}

run_int4() {
  part int4 int4.sh
}

run_large() {
  CHECKPOINT=${LARGE:---layers 40 --width 6144 --heads 48} PARTS="f16 int4" part large large.sh
}

run_server() {
  part server server.sh ${SERVER:---warm-up 10 --seconds 8}
}

run_suites() {
  for suite in kernels models; do OUT="$out/$suite" part "suite-$suite" suites.sh "tests/$suite"; done
}

run_default() {
  if [ ! -e "$model/model.safetensors" ]; then
    echo "the default model is left out: it is not in $model"
    return
  fi
  greedy default "$model"
  local peers="--peers pytorch,ort-webgpu" # measured once; they do not depend on our provider
  for provider in $providers; do
    step "bench-$provider" "${deno[@]}" bench/run.ts --device "$provider" --model "$model" --python "$python" \
      --json "$out/figures.jsonl" $peers ${BENCH:-}
    peers="--peers none"
  done
}

for name in ${PARTS:-greedy peers gemm int4 large server suites default}; do "run_$name"; done
echo "=== $gpu, commit $HYADES_COMMIT"
{
  "${deno[@]}" bench/gpu/peers_table.ts "$out" --context "${CONTEXT:-512}" && echo &&
    "${deno[@]}" bench/gpu/asked_table.ts "$out"
} | tee "$out/summary.md"
exit $failed
