# Sourced by the scripts here that run on a machine without network: unpacks what pack.sh packed, where that is not done,
# goes to a copy of the source beside the packed configuration, and defines `deno` (its command line) and `step`.
# The callers' variables: WORK (where it is unpacked), OUT (logs and figures), PYTHON, STEP_SECONDS (limit of one step).
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
work=$(realpath -m "${WORK:-$HOME/.cache/hyades-gpu}")
out=$(realpath -m "${OUT:-$here/results}")
python=${PYTHON:-python3}
failed=0
mkdir -p "$out"
[ -x "$work/bin/deno" ] || WORK=$work bash "$here/bench/gpu/unpack.sh" || exit 1
rm -rf "$work/tree"
mkdir -p "$work/tree"
cp -r "$here"/{device,kernels,models,engine,routes,cli,bench,tests,main.ts} "$work/deno.json" "$work/tree"
ln -s "$here/weights" "$work/tree/weights"
cd "$work/tree"
export DENO_DIR="$work/deno_dir" DENO_NO_UPDATE_CHECK=1 NO_COLOR=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export HYADES_COMMIT=${HYADES_COMMIT:-$(git -C "$here" rev-parse --short HEAD 2>/dev/null || cat "$work/commit")}
# Behind the machine's own libraries, so that only what is missing there is taken from here.
libraries="$work/lib/usr/lib/x86_64-linux-gnu:$work/lib/lib/x86_64-linux-gnu"
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries"
deno=("$work/bin/deno" run --allow-all --cached-only --no-check)
gpu=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null || echo "no NVIDIA GPU")

# step NAME COMMAND...: runs it under the limit, its output in OUT/NAME.log, behind that of this run's steps of that name;
# a step that fails sets `failed`.
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
