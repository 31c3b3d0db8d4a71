#!/usr/bin/env bash
# Everything once, small, on the CPU, in about two minutes: a corpus of this repository's own Python, a tokenizer, a tiny model
# of each architecture, int8 forms, and what PyTorch computes for these.
#
#   PYTHON=python3 DENO=deno bash training/smoke.sh WORK
#
# WORK gets ARCHITECTURE/log.jsonl, ARCHITECTURE/model, ARCHITECTURE/int8 and ARCHITECTURE/expected.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
work=$1
python=${PYTHON:-python3}
deno=${DENO:-deno}
export TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
mkdir -p "$work/archives"

wheel() { # NAME FILES..: a wheel of files of this repository, as an index would have it
  "$python" - "$work/archives/$1-1.0-py3-none-any.whl" "${@:2}" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("own.dist-info/METADATA", "Metadata-Version: 2.4\nVersion: 1.0\nLicense-Expression: Apache-2.0\n")
    for path in sys.argv[2:]:
        wheel.write(path, path.removeprefix("/"))
PYTHON
  echo "{\"name\": \"$1\", \"version\": \"1.0\"$([ "$1" = own_held_out ] && echo ', "held_out": true')}" >>"$work/manifest.jsonl"
}

cd "$root"
rm -f "$work/manifest.jsonl"
wheel own training/*.py tools/*.py
wheel own_held_out bench/peers/*.py
"$python" training/build_corpus.py "$work/manifest.jsonl" --archives "$work/archives" --out "$work/corpus"
"$python" training/train_tokenizer.py "$work"/corpus/train-* --vocabulary 512 --out "$work/tokenizer.json" \
  --held-out "$work/corpus/validation.jsonl.xz"
"$python" training/self_test.py "$work/corpus/train-0.jsonl.xz" "$work/tokenizer.json"
"$python" training/text_store.py "$work"/corpus/train-* --tokenizer "$work/tokenizer.json" --processes 1 --out "$work/store"
"$python" training/text_store.py "$work/corpus/validation.jsonl.xz" --tokenizer "$work/tokenizer.json" --processes 1 \
  --out "$work/held_out"
for architecture in starcoder h3 hyena; do
  "$python" training/train.py "$architecture-tiny" --store "$work/store" --held-out "$work/held_out" \
    --out "$work/$architecture" --minutes 5 --steps 40 --warmup 5 --held-out-steps 20 --batch-tokens 2048 \
    --micro-tokens 2048 --workers 0 --device cpu --no-compile
  "$deno" run -P=quantize --no-check main.ts quantize "$work/$architecture/model" "$work/$architecture/int8" --force
  "$python" training/reference_logits.py "$work/$architecture/int8" "$work/$architecture/expected"
done
"$python" training/evaluate.py "$work/starcoder/model" --held-out "$work/corpus/validation.jsonl.xz" --trained-on "$work/store" \
  --holes 2 --loss-files 1 --memory-samples 1 --device cpu --out "$work/starcoder"
