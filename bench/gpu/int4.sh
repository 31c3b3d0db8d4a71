#!/usr/bin/env bash
# int4 against f16, in one call: 1.1 B on both providers; then the other word size of int4 in its staged form.
cd "$(dirname "$0")/../.."
export VK_DRIVER_FILES=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json XDG_RUNTIME_DIR=/tmp
here=$PWD; work=$HOME/.cache/hyades-gpu
python3 bench/gpu/make_checkpoint.py /tmp/f16 > "$OUT/make.log" 2>&1 &
[ -x "$work/bin/deno" ] || bash bench/gpu/unpack.sh
rm -rf $work/tree; mkdir -p $work/tree; cp -r device kernels models bench $work/deno.json $work/tree; cd $work/tree
export DENO_DIR=$work/deno_dir DENO_NO_UPDATE_CHECK=1
export LD_LIBRARY_PATH="$work/lib/usr/lib/x86_64-linux-gnu:$work/lib/lib/x86_64-linux-gnu"
deno="$work/bin/deno run --allow-all --cached-only --no-check"
cp -r $here/tests . ; timeout 40 $work/bin/deno test -A --cached-only --no-check tests/kernels/dense_test.ts --filter "/fast\) \[dawn\]/" > $OUT/dense.txt 2>&1; grep -E "I4|passed|FAILED|rror" $OUT/dense.txt | head -30
wait
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
cat "$OUT/make.log"
(sed -i 's/const FINER = 2/const FINER = 0/' models/int4_rounding.ts; $deno bench/gpu/quantize.ts /tmp/f16 /tmp/int4 4 2>&1 | tee "$OUT/quantize.log") &
measure() { # NAME MODEL DEVICE
  echo "--- $1 $3, $SECONDS s"; timeout 60 $deno bench/gpu/compare.ts --model $2 --device $3 --contexts 64,512 --batches ${4:-1,8} --prefill 512 --seconds 1 --json $OUT/figures.jsonl 2>&1 | grep -v Warning | tail -12; }
measure f16 /tmp/f16 dawn
measure f16 /tmp/f16 webgpu
wait
measure int4 /tmp/int4 dawn
measure int4 /tmp/int4 webgpu
sed -i 's/staged ? ELEMENTS_PER_16_BYTES.i4 : 8/8/' kernels/linear/gemv_form.ts
measure "int4 words of 8" /tmp/int4 dawn 1
measure "int4 words of 8" /tmp/int4 webgpu 1
sed -i 's/weightRows < 4096 ? 1 : 2;/weightRows < 4096 ? 2 : 4;/' kernels/linear/gemv_form.ts
measure "int4 words of 8, twice the rows" /tmp/int4 dawn 1
sed -i 's/return 8;/return staged ? 32 : 8;/' kernels/linear/gemv_form.ts
measure "int4 words of 32, twice the rows" /tmp/int4 dawn 1
cp $here/kernels/linear/gemv_form.ts kernels/linear/
timeout 30 $deno bench/gpu/profile.ts --model /tmp/int4 --device dawn > $OUT/profile.txt 2>&1; grep -v Warning $OUT/profile.txt | head -30
echo "all $SECONDS s"
