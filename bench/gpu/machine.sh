# Sourced, from the repository's root, by the scripts that run on a GPU machine without network: unpacks .carry/, goes to
# a copy of the source that needs no more than what was packed, and defines `deno` (an array), `step`, `work`, `out` and
# `python`. OUT, WORK, PYTHON and STEP_SECONDS come from the environment: see run_all.sh.
here=$PWD
work=$(realpath -m "${WORK:-$HOME/.cache/hyades-gpu}")
out=$(realpath -m "${OUT:-results}")
python=${PYTHON:-python3}
failed=0
mkdir -p "$out"

[ -x "$work/bin/deno" ] || WORK=$work bash bench/gpu/unpack.sh || exit 1
# A copy of the source beside the configuration that names only the packed packages.
rm -rf "$work/tree"
mkdir -p "$work/tree"
cp -r device kernels models bench "$work/deno.json" "$work/tree"
cd "$work/tree"
export DENO_DIR="$work/deno_dir" DENO_NO_UPDATE_CHECK=1 NO_COLOR=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export HYADES_COMMIT=${HYADES_COMMIT:-$(git -C "$here" rev-parse --short HEAD 2>/dev/null || cat "$work/commit")}
# Behind the machine's own libraries, so that only what is missing there is taken from here.
libraries="$work/lib/usr/lib/x86_64-linux-gnu:$work/lib/lib/x86_64-linux-gnu"
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries"
deno=("$work/bin/deno" run --allow-all --cached-only --no-check)
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader > "$out/gpu.txt" 2>/dev/null || echo "no NVIDIA GPU" > "$out/gpu.txt"

# step NAME COMMAND...: runs it under the limit, its output in OUT/NAME.log, behind that of this run's steps of that name.
declare -A begun
step() {
  local name=$1 started=$SECONDS
  shift
  [ -n "${begun[$name]:-}" ] || : > "$out/$name.log"
  begun[$name]=1
  timeout "${STEP_SECONDS:-200}" "$@" >> "$out/$name.log" 2>&1
  local code=$?
  [ $code -eq 0 ] || failed=1
  echo "$name: exit $code after $((SECONDS - started)) s" | tee -a "$out/steps.txt"
  return $code
}
