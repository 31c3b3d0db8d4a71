#!/usr/bin/env bash
# Packs what a GPU machine without network needs beside this tree into .carry/ (git-ignored): Deno, a cache with only the
# packages that the server, the GPU path, its benchmarks and the tests of both import and the one native addon, and Debian's
# Vulkan loader with what NVIDIA's driver links.
# unpack.sh, there, undoes it.  Needs: deno with a filled cache (deno task test fills it), xz, apt-get.
set -euo pipefail
cd "$(dirname "$0")/../.."
for program in deno xz apt-get; do
  command -v "$program" > /dev/null && continue
  echo "error: $program is not on the PATH (deno: npm install -g deno, or https://docs.deno.com/runtime)" >&2
  exit 1
done
carry=.carry
cache=$(deno info --json | sed -n 's/.*"denoDir": "\(.*\)".*/\1/p')
packages=(
  webgpu @webgpu/types debug ms
  onnxruntime-web onnxruntime-common flatbuffers guid-typescript long platform protobufjs @protobufjs @types/node undici-types
  @bufbuild/protobuf zod
  hono @hono/zod-openapi @hono/zod-validator @asteasolutions/zod-to-openapi openapi3-ts yaml
  @huggingface/tokenizers commander deno-std prom-client tdigest bintrees @opentelemetry/api
  fast-check pure-rand
)
# What has to run there: all but the compiler of the CPU's kernels and its test.
shopt -s extglob
entries=(main.ts engine/worker_main.ts bench/run.ts bench/gpu/*.ts tests/models/*_test.ts tests/kernels/!(build_cpu)_test.ts)
debs=(libvulkan1 libx11-6 libxext6 libxcb1 libxau6 libxdmcp6 libbsd0 libmd0 libglvnd0 libegl1 libgl1 libglx0)

mkdir -p "$carry"
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT

# The one registry folder that holds our packages, whatever its name.
registry=$(dirname "$(find "$cache"/npm -maxdepth 2 -name webgpu -type d | head -1)")
target="$staging/deno_dir${registry#"$cache"}"
for package in "${packages[@]}"; do
  if [ ! -e "$registry/$package" ]; then
    echo "error: $package is not in Deno's cache; deno task test fills it" >&2
    exit 1
  fi
  mkdir -p "$target/$(dirname "$package")"
  cp -r "$registry/$package" "$target/$package"
done
# Only the newest files of this platform: other addons, source maps and onnxruntime's other builds stay behind.
find "$target/webgpu" -path '*/dist/*' -name '*.node' ! -path '*/linux-x64/*' -delete
find "$target/webgpu" -path '*/dist/*' \( -name '*.dll' -o -name '*.dylib' \) -delete
find "$target" \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete
find "$target/onnxruntime-web" -path '*/dist/*' -name '*.wasm' ! -name '*.asyncify.wasm' ! -name '*-threaded.wasm' -delete
find "$target/onnxruntime-web" -path '*/dist/ort*.js' -delete

DENO_DIR="$staging/deno_dir" deno test --quiet --no-run --no-check --no-lock --cached-only "${entries[@]}"
tar -C "$staging" -c deno_dir/npm | xz -9 -T2 > "$carry/deno_dir.tar.xz"
[ -s "$carry/deno.xz" ] || xz --x86 --lzma2=preset=9 -c "$(deno eval 'console.log(Deno.execPath())')" > "$carry/deno.xz"
mkdir -p "$carry/debs"
(cd "$carry/debs" && for deb in "${debs[@]}"; do ls "${deb}"_*.deb > /dev/null 2>&1 || apt-get download "$deb"; done)
cp deno.json "$carry"
git rev-parse --short HEAD > "$carry/commit"
du -ch "$carry"/* | sort -h
