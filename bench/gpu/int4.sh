#!/usr/bin/env bash
# int4 against f16 on a machine without network: the random 1.1 B checkpoint on both providers, and where int4's time goes.
#
#   OUT=results VK_DRIVER_FILES=/path/to/nvidia_icd.json bash bench/gpu/int4.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(realpath -m "${WORK:-$HOME/.cache/hyades-gpu}")
out=$(realpath -m "${OUT:-results}")
mkdir -p "$out"
[ -x "$work/bin/deno" ] || WORK=$work bash bench/gpu/unpack.sh
"${PYTHON:-python3}" bench/gpu/make_checkpoint.py "$work/random"
# A copy of the source beside the configuration that names only the packed packages.
rm -rf "$work/tree"
mkdir -p "$work/tree"
cp -r device kernels models bench "$work/deno.json" "$work/tree"
cd "$work/tree"
export DENO_DIR="$work/deno_dir" DENO_NO_UPDATE_CHECK=1
libraries="$work/lib/usr/lib/x86_64-linux-gnu:$work/lib/lib/x86_64-linux-gnu"
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries"
deno=("$work/bin/deno" run --allow-all --cached-only --no-check)

"${deno[@]}" bench/gpu/quantize.ts "$work/random" "$work/random-int4" 4
for model in random random-int4; do
  for provider in ${PROVIDERS:-dawn webgpu}; do
    "${deno[@]}" bench/gpu/compare.ts --model "$work/$model" --device "$provider" --contexts 64,512 --prefill 512 \
      --seconds 1 --json "$out/int4.jsonl"
  done
done
"${deno[@]}" bench/gpu/profile.ts --model "$work/random-int4" --device dawn
