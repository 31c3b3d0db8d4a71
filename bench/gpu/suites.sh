#!/usr/bin/env bash
# The tests of kernels and models (parity with transformers, batching, prefix reuse, speculation, steps in flight, and each
# kernel against its reference) on the GPU of a machine without network, on both providers and in both profiles. Parity is
# the fast profile's; the others have tests of either. What runs without a GPU is left to CI. Ends with the counts.
#
#   OUT=results VK_DRIVER_FILES=/path/to/nvidia_icd.json bash bench/gpu/suites.sh [tests/...]
#
# Left out: files that need libraries which are fetched when they are first used, and
# the default model's cases where its weights are not in weights/, and all of the trained models' where one's are not.
set -uo pipefail
. "$(dirname "$0")/environment.sh"
filter="/\[(dawn|webgpu)/"
default=$(sed -n 's/.*DEFAULT_MODEL_ID = "\(.*\)";/\1/p' cli/default_model.ts)
if [ ! -e "weights/$default/model.safetensors" ]; then
  # Regular expressions here cannot say what must not follow.
  filter="/^(parity with transformers: [mqs]|[^ap]|a[^ ]|a [^K]|p[^a]).*\[(dawn|webgpu)/"
  echo "weights/$default is not there: its cases are left out"
fi
ignored=tests/kernels/build_cpu_test.ts,tests/models/hub,tests/models/gguf_test.ts,tests/models/model_facts_test.ts
for model in hyades-h3-30m hyades-hyena-30m; do
  [ -e "weights/$model/model.safetensors" ] && continue
  echo "weights/$model is not there: tests/models/trained_parity_test.ts is left out"
  ignored=$ignored,tests/models/trained_parity_test.ts
  break
done
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(tests/kernels tests/models)
export CI=true HYADES_TEST_EVERY_CASE=true HYADES_TEST_MATRIX_UNITS=true NO_COLOR=1 XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$(mktemp -d)}
STEP_SECONDS=${STEP_SECONDS:-500} step suites "$work/bin/deno" test --allow-all --cached-only --no-check --parallel \
  --ignore="$ignored" --filter "$filter" "${tests[@]}"
echo "=== $gpu, commit $HYADES_COMMIT"
grep -E "FAILED|^error|largest|L2" "$out/suites.log" | grep -E "FAILED|error" | head -40
grep -E "passed" "$out/suites.log" | tail -1
exit $failed
