#!/usr/bin/env bash
# All runs on a machine with one or two GPUs, in the background, so that they outlive the shell that starts them:
#
#   bash training/runs.sh all CORPUS WORK          # everything below in its order; LONG=10 ANNEAL=5 EQUAL=6 are minutes
#   bash training/runs.sh status WORK              # what runs, a line for every run
#   bash training/runs.sh stop WORK                # runs end early, and what they have is written
#   bash training/runs.sh pack WORK OUT NAME..     # of runs, or `logs`: parts of 15 MB at most; unpack: cat NAME.tar.* | tar x
#
# `all` makes stores of token ids, of held-out text first, with which each architecture is compiled and its variants are timed
# meanwhile. Then, on the first GPU, StarCoder in equal time, its plateau gone on with as `long` and annealed; on the second, H3
# and Hyena in equal time, one after the other, with the evaluations; on a machine with one GPU, one after the other. Nothing
# waits for anything else but `long` for its plateau, and whatever there is can be packed at any time. By hand:
#
#   bash training/runs.sh prepare CORPUS WORK      # the stores; CORPUS holds the shards, *validation* among them
#   bash training/runs.sh start STAGE.. WORK       # one after the other, detached
#
# Stages, each with minutes after a colon where it takes some:
#   trial-SIZE:1             so many minutes at most of each variant of a size on held-out text; the fastest one's options are
#                            taken from then on, and what was compiled is kept. May run while the store is being made.
#   wait                     until the store is made
#   starcoder:6 h3:6 hyena:6 the comparison, annealed to the end
#   long:10                  StarCoder without an end, from where RESUME says (a model folder), or the plateau of the stage
#                            `starcoder`; again to go on
#   anneal:5                 its end: rates fall to 0
#   probe:0.03               a minute and a half of StarCoder at another rate of Muon's, to the end
#   evaluate:NAME            of WORK/NAME
#   evaluate-served          of the model in weights/ that is served by default
#   plot                     the curves
# Settings from the environment: GPU (which; default 0), GPUS=2 (both for one run, by torchrun), EXTRA (options for train.py,
# such as --rate 0.01), ANNEAL_EXTRA (the same for `anneal`, such as --end-weight 2), EVALUATE (options for evaluate.py),
# WORKERS (processes that make examples), SEED, MACHINE_GPUS (where nvidia-smi does not say), TORCHINDUCTOR_CACHE_DIR,
# TINY=-tiny (tiny models, to try this script on a CPU with EXTRA='--device cpu --no-compile --steps 2').
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
export TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=4 NCCL_NVLS_ENABLE=0 PYTHONUNBUFFERED=1
export PYTORCH_ALLOC_CONF=expandable_segments:True TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-/tmp/inductor}
cores=$(nproc)
# At AdamW's rate for all, filters at a third of that as H3's have it, Hyena diverged; this has not been tried yet.
rates_hyena="--filter-rate 0.0003"
# What is tried of each size; the first is taken unless another is faster.
variants_starcoder=("" "--copied-kv")
variants_h3=("" "--fourier")
variants_hyena=("" "--fourier")

prepare() { # CORPUS WORK
  prepare_held_out "$@"
  prepare_store "$@"
}

prepare_held_out() {
  local corpus=$1 work=$2 held_out
  mkdir -p "$work"
  held_out=$(find "$(realpath "$corpus")" -type f -name '*validation*' | sort | head -1)
  # Under its own name, which says how it is to be read.
  rm -rf "$work/validation"
  mkdir "$work/validation"
  ln -s "$held_out" "$work/validation/"
  $python "$here/text_store.py" "$held_out" --tokenizer "$here/tokenizer.json" --processes "$((cores < 4 ? cores : 4))" --out "$work/held_out"
}

shards_of() { # CORPUS
  find "$(realpath "$1")" -type f -name '*.json*' ! -name '*validation*' ! -name 'packages.*' | sort
}

prepare_store() {
  local corpus=$1 work=$2 shards
  mapfile -t shards < <(shards_of "$corpus")
  $python "$here/text_store.py" "${shards[@]}" --tokenizer "$here/tokenizer.json" --processes "$cores" --out "$work/store"
}

train() { # NAME SIZE MINUTES OPTIONS..
  local name=$1 size=$2 minutes=$3 run=("$python")
  shift 3
  if [ "${GPUS:-1}" -gt 1 ]; then
    run=("$python" -m torch.distributed.run --standalone --nproc-per-node "$GPUS")
  else
    export CUDA_VISIBLE_DEVICES=${GPU:-0}
  fi
  local fastest=
  [ ! -e "$work/options-$size" ] || fastest=$(cat "$work/options-$size")
  watched "$name" "${run[@]}" "$here/train.py" "$size${TINY:-}" --store "$work/${STORE:-store}" --held-out "$work/held_out" \
    --out "$work/$name" --minutes "$minutes" --workers "${WORKERS:-$((cores < 6 ? 0 : cores / 2 - 2))}" $fastest "$@" ${EXTRA:-}
}

evaluate() { # NAME [MODEL]
  export CUDA_VISIBLE_DEVICES=${GPU:-0}
  watched "$1.evaluation" "$python" "$here/evaluate.py" "${2:-$work/$1/model}" --held-out "$work"/validation/* \
    --trained-on "$work/store" --batch 256 --out "$work/$1" ${EVALUATE:-}
}

watched() { # LOG COMMAND..: in the background, so that `stop` can end it gently
  local log=$work/$1.log running="$work/running-gpu${GPU:-0}"
  shift
  "$@" >>"$log" 2>&1 &
  echo "$!" >"$running"
  wait "$!" || echo "failed: see $log"
  rm -f "$running"
}

trial() { # SIZE MINUTES
  local size=$1
  local -n variants=variants_$1
  local i runs=()
  for i in "${!variants[@]}"; do
    STORE=held_out train "trial-$size-$i" "$size" "$2" ${variants[i]} --steps 40 --held-out-steps 100000
    runs+=("$work/trial-$size-$i")
  done
  local fastest
  $python "$here/run_status.py" --speed "${runs[@]}" | tee "$work/trial-$size.log"
  fastest=$(sed -n '1s/\t.*//p' "$work/trial-$size.log")
  echo "${variants[${fastest##*-}]}" >"$work/options-$size"
}

stage() {
  local name=${1%%:*} value=${1#*:}
  echo "$(date -u +%T) $1"
  case $name in
    trial-*) trial "${name#trial-}" "$value" ;;
    wait)
      until [ -e "$work/store/tokenizer.json" ]; do
        [ ! -e "$work/store-failed" ] || { echo "no store, so nothing is trained: see $work/prepare.log" && exit 1; }
        sleep 1
      done
      ;;
    probe) train "probe-$value" starcoder 1.5 --rate "$value" --seed "${SEED:-1}" ;;
    starcoder | h3) train "$name" "$name" "$value" --seed "${SEED:-1}" ;;
    hyena) train "$name" "$name" "$value" --seed "${SEED:-1}" $rates_hyena ;;
    long)
      local from="${RESUME:-$work/starcoder/plateau/state.pt}" resume=()
      [ ! -e "$work/long/state.pt" ] || from="$work/long/state.pt"
      [ ! -e "$from" ] || resume=(--resume "$from")
      train long starcoder "$value" --decay 0 --seed "${SEED:-$RANDOM}" "${resume[@]}"
      ;;
    anneal)
      local state="$work/long/state.pt"
      # After a journey there is no state, only weights.
      [ -e "$state" ] || state="$work/long/model"
      train anneal starcoder "$value" --decay 1 --warmup 20 --seed "${SEED:-$RANDOM}" --resume "$state" ${ANNEAL_EXTRA:-}
      ;;
    evaluate) evaluate "$value" ;;
    evaluate-served) evaluate served "$here/../weights/$(sed -n 's/^export const DEFAULT_MODEL_ID = "\(.*\)";/\1/p' "$here/../cli/default_model.ts")" ;;
    plot) $python "$here/plot.py" "$work"/{starcoder,h3,hyena} --out "$work/curves.svg" >"$work/plot.log" 2>&1 || echo "failed: see $work/plot.log" ;;
    *) echo "no such stage: $1" ;;
  esac
}

all() { # CORPUS WORK
  local corpus=$1 work=$2 equal=${EQUAL:-6} try=${TRIAL:-1.5}
  local long=("long:${LONG:-10}" "anneal:${ANNEAL:-5}" evaluate:anneal)
  rm -f "$work/store-failed"
  prepare_held_out "$corpus" "$work" >"$work/prepare.log" 2>&1
  (prepare_store "$corpus" "$work" >>"$work/prepare.log" 2>&1 || touch "$work/store-failed") &
  if [ "${MACHINE_GPUS:-$(count_gpus)}" -gt 1 ]; then
    GPU=0 start "trial-starcoder:$try" wait "starcoder:$equal" "${long[@]}" "$work"
    GPU=1 start "trial-h3:$try" "trial-hyena:$try" wait "h3:$equal" "hyena:$equal" \
      evaluate:starcoder evaluate:h3 evaluate:hyena plot "$work"
  else
    GPU=0 start "trial-starcoder:$try" "trial-h3:$try" "trial-hyena:$try" wait "starcoder:$equal" "h3:$equal" "hyena:$equal" \
      "${long[@]}" evaluate:starcoder evaluate:h3 evaluate:hyena plot "$work"
  fi
  wait
}

count_gpus() {
  nvidia-smi --list-gpus 2>/dev/null | wc -l
}

start() { # STAGE.. WORK
  local work=${*: -1}
  mkdir -p "$work"
  setsid nohup bash "$here/runs.sh" run "$@" >>"$work/stages-gpu${GPU:-0}.log" 2>&1 </dev/null &
  echo "$!" >>"$work/lanes"
}

# Of the numbers in files those of processes that are still this script's: others may have got them since.
ours() { # FILE..
  local pid
  for pid in $(cat "$@" 2>/dev/null); do
    case $(ps -o args= -p "$pid" 2>/dev/null) in *runs.sh* | *train.py* | *evaluate.py*) echo "$pid" ;; esac
  done
}

stop() { # WORK
  local work=$1 pid lanes runs
  lanes=$(ours "$work/lanes") runs=$(ours "$work"/running-gpu*)
  # No stage after these.
  for pid in $lanes; do kill "$pid" 2>/dev/null || true; done
  for pid in $runs; do kill "$pid" 2>/dev/null || true; done
  for pid in $runs; do
    for _ in $(seq 60); do kill -0 "$pid" 2>/dev/null && sleep 0.5 || break; done
  done
  for pid in $lanes; do kill -- "-$pid" 2>/dev/null || true; done
  rm -f "$work/lanes" "$work"/running-gpu*
}

status() { # WORK
  tail -n 3 "$1"/stages-gpu*.log 2>/dev/null || echo "nothing was started yet"
  $python "$here/run_status.py" "$1"
  local figures
  for figures in "$1"/*/figures.json; do
    [ -e "$figures" ] && echo "$figures: $(tr -d ' \n' <"$figures" | cut -c 1-700)"
  done
  grep -l -E 'Error|failed' "$1"/*.log | sed 's/^/has errors: /' || true
  command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=index,utilization.gpu,memory.used --format=csv,noheader || true
}

pack() { # WORK OUT NAME..
  local work=$1 out=$2 name
  shift 2
  mkdir -p "$out"
  out=$(realpath "$out")
  for name in "$@"; do
    if [ "$name" = logs ]; then
      (cd "$work" && find . \( -name '*.jsonl' -o -name '*.json' -o -name '*.md' -o -name '*.log' -o -name '*.svg' \) ! -path '*/model/*' \
        ! -path './store/*' ! -path './held_out/*' -print0 | tar cz --null -T - -f "$out/logs.tar.gz")
      continue
    fi
    # Weights and what belongs to them, the log and the figures; no optimizer; a plateau only where it is asked for by name.
    (cd "$work" && tar ch --exclude '*.pt' --exclude '*.partial' --exclude "$name/plateau" "$name") |
      split -b 15000000 -d - "$out/${name//\//-}.tar."
  done
  ls -l "$out"
}

usage() {
  sed -n '2,/^set/p' "$0" | grep '^#'
  exit 1
}

refuse() { # WHY
  echo "runs.sh: $1" >&2
  exit 1
}

require_corpus() { # CORPUS
  [ -d "$1" ] || refuse "no such folder: $1"
  [ -n "$(find "$(realpath "$1")" -type f -name '*validation*')" ] || refuse "$1 has no shard *validation*"
  [ -n "$(shards_of "$1")" ] || refuse "$1 has no shards *.json* to train on"
}

# Else a stage that was given without a folder would be taken for one.
require_stages() { # STAGE.. WORK
  local one work=${*: -1}
  case $work in *:* | wait | evaluate-served | plot) [ -d "$work" ] || refuse "the last argument is the folder WORK, received $work" ;; esac
  for one in "${@:1:$#-1}"; do
    case ${one%%:*} in
      trial-starcoder | trial-h3 | trial-hyena | probe | starcoder | h3 | hyena | long | anneal | evaluate)
        [[ $one == *:?* ]] || refuse "a stage needs a value after a colon: $one"
        ;;
      wait | evaluate-served | plot) ;;
      *) refuse "no such stage: $one" ;;
    esac
  done
}

main() {
  local command=${1:-}
  shift || true
  case $command/$# in
    all/2 | all-now/2 | prepare/2 | status/1 | stop/1 | start/[2-9] | start/[1-9]?* | run/[2-9] | run/[1-9]?* | pack/[3-9] | pack/[1-9]?*) ;;
    *) usage ;;
  esac
  case $command in all | prepare) require_corpus "$1" ;; start) require_stages "$@" ;; esac
  case $command in status | stop | pack) [ -d "$1" ] || refuse "no such folder: $1" ;; esac
  case $command in
    all)
      mkdir -p "$2"
      setsid nohup bash "$here/runs.sh" all-now "$@" >>"$2/all.log" 2>&1 </dev/null &
      echo "$!" >>"$2/lanes"
      ;;
    all-now) all "$@" ;;
    prepare) prepare "$@" ;;
    start) start "$@" ;;
    run)
      work=${*: -1}
      # Whatever becomes of one, the next is run.
      for one in "${@:1:$#-1}"; do stage "$one" || echo "failed: $one"; done
      echo "$(date -u +%T) done"
      ;;
    status) status "$1" ;;
    stop) stop "$1" ;;
    pack) pack "$@" ;;
  esac
}

# All of it is read before anything runs: the file may be replaced meanwhile.
main "$@"; exit
