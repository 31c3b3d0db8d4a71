#!/usr/bin/env bash
# The runs on one machine with one or two H200s, in the background, so that they outlive the shell that starts them:
#
#   bash training/h200.sh prepare CORPUS WORK      # stores of token ids; CORPUS holds the shards, *validation* among them
#   bash training/h200.sh start STAGE.. WORK       # one after the other, detached; see below
#   bash training/h200.sh status WORK              # what runs, the last lines of every log
#   bash training/h200.sh stop WORK
#   bash training/h200.sh pack WORK OUT MODEL..    # model folders, in parts of 15 MB; unpack: cat MODEL.tar.* | tar x
#
# Stages, each with minutes after a colon where it takes some:
#   check:1                  so many minutes each of the three architectures on held-out text: do they compile, how fast are
#                            they? What they compile is kept for later runs. May run while the store is being made.
#   probe:0.03               a minute and a half of StarCoder at another rate of Muon's, to the end
#   starcoder:6 h3:6 hyena:6 the comparison, annealed to the end
#   long:10                  StarCoder without an end, to be gone on with; again to go on
#   anneal:5                 its end: rates fall to 0
#   evaluate:NAME            of WORK/NAME; evaluate:first is the model in weights/hyades-starcoder-31m
# Settings from the environment: GPU (which; default 0), GPUS=2 (both, by torchrun), EXTRA (options for train.py, such as
# --no-compile --copied-kv --rate 0.01), EVALUATE (options for evaluate.py), WORKERS (processes that make examples), SEED,
# TINY=-tiny (tiny models, to try this script on a CPU with EXTRA='--device cpu --no-compile --steps 2').
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
export TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=4 NCCL_NVLS_ENABLE=0 PYTHONUNBUFFERED=1
export PYTORCH_ALLOC_CONF=expandable_segments:True TORCHINDUCTOR_CACHE_DIR=/tmp/inductor
cores=$(nproc)

prepare() {
  local corpus=$1 work=$2
  mkdir -p "$work"
  corpus=$(realpath "$corpus")
  local shards held_out
  held_out=$(find "$corpus" -name '*validation*' | sort)
  shards=$(find "$corpus" -type f \( -name '*.jsonl*' -o -name '*.json*' \) ! -name '*validation*' ! -name 'packages.*' | sort)
  $python "$here/text_store.py" $held_out --tokenizer "$here/tokenizer.json" --processes 4 --out "$work/held_out"
  ln -sf $held_out "$work/validation.jsonl.xz"
  if [ -z "$shards" ]; then
    echo "only held-out text is there: enough for check, not to train"
    return
  fi
  $python "$here/text_store.py" $shards --tokenizer "$here/tokenizer.json" --processes "$((cores - 2))" --out "$work/store"
}

train() { # NAME SIZE MINUTES OPTIONS..
  local name=$1 size=$2 minutes=$3 run=("$python")
  shift 3
  if [ "${GPUS:-1}" -gt 1 ]; then
    run=("$python" -m torch.distributed.run --standalone --nproc-per-node "$GPUS")
  else
    export CUDA_VISIBLE_DEVICES=${GPU:-0}
  fi
  "${run[@]}" "$here/train.py" "$size${TINY:-}" --store "$work/${STORE:-store}" --held-out "$work/held_out" --out "$work/$name" \
    --minutes "$minutes" --workers "${WORKERS:-$((cores / 2 - 2))}" "$@" ${EXTRA:-} \
    >>"$work/$name.log" 2>&1 || echo "$name failed: see $work/$name.log"
}

evaluate() { # NAME
  if [ "$1" = first ]; then
    mkdir -p "$work/first" && ln -sfn "$here/../weights/hyades-starcoder-31m" "$work/first/model"
  fi
  CUDA_VISIBLE_DEVICES=${GPU:-0} $python "$here/evaluate.py" "$work/$1/model" --held-out "$work/validation.jsonl.xz" \
    --trained-on "$work/store" --batch 256 --out "$work/$1" ${EVALUATE:-} >>"$work/$1.evaluation.log" 2>&1 ||
    echo "evaluation of $1 failed: see $work/$1.evaluation.log"
}

stage() {
  local name=${1%%:*} value=${1#*:}
  echo "$(date -u +%T) $1"
  case $name in
    check) for size in starcoder h3 hyena; do STORE=held_out train "check-$size" $size "$value" --held-out-steps 100; done ;;
    probe) train "probe-$value" starcoder 1.5 --rate "$value" --seed "${SEED:-1}" ;;
    starcoder | h3 | hyena) train "$name" "$name" "$value" --seed "${SEED:-1}" ;;
    long)
      local resume=()
      [ -e "$work/long/state.pt" ] && resume=(--resume "$work/long/state.pt")
      train long starcoder "$value" --decay 0 --seed "${SEED:-$RANDOM}" "${resume[@]}"
      ;;
    anneal)
      local state="$work/long/state.pt"
      # After a journey there is no state, only weights.
      [ -e "$state" ] || state="$work/long/model"
      train anneal starcoder "$value" --decay 1 --warmup 20 --seed "${SEED:-$RANDOM}" --resume "$state"
      ;;
    evaluate) evaluate "$value" ;;
    *) echo "no such stage: $1" ;;
  esac
}

pack() { # WORK OUT MODEL..
  local work=$1 out=$2
  shift 2
  mkdir -p "$out"
  for name in "$@"; do
    # Weights and what belongs to them, the log and the figures; no optimizer.
    (cd "$work" && tar ch --exclude state.pt "$name") | split -b 15000000 -d - "$out/$name.tar."
  done
  ls -l "$out"
}

main() {
  command=${1:-}
  shift || true
  case $command in
    prepare) prepare "$@" ;;
    pack) pack "$@" ;;
    start)
      work=${*: -1}
      setsid nohup bash "$0" run "$@" >>"$work/stages-gpu${GPU:-0}.log" 2>&1 </dev/null &
      echo "$!" >>"$work/pids"
      ;;
    run)
      work=${*: -1}
      for one in "${@:1:$#-1}"; do stage "$one"; done
      echo "$(date -u +%T) done"
      ;;
    status)
      cat "$1"/stages-gpu*.log
      for log in "$1"/*.log; do
        case $log in */stages-*) ;; *) echo "== $log" && tail -n 2 "$log" | cut -c 1-300 ;; esac
      done
      command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=index,utilization.gpu,memory.used --format=csv,noheader
      ;;
    stop) while read -r pid; do kill -- "-$pid" 2>/dev/null || true; done <"$1/pids" && rm -f "$1/pids" ;;
    *) sed -n '2,/^set/p' "$0" | grep '^#' && exit 1 ;;
  esac
}

# All of it is read before anything runs: the file may be replaced meanwhile.
main "$@"; exit
