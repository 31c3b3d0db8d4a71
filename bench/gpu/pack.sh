#!/usr/bin/env bash
# Packs what a GPU machine without network needs beside this tree into .carry/ (git-ignored): Deno, a cache with only the
# packages and the one native addon that the GPU path imports, and Debian's Vulkan loader with what NVIDIA's driver links.
# unpack.sh, there, undoes it.  Needs: deno with a filled cache (deno task test fills it), xz, apt-get.
set -euo pipefail
cd "$(dirname "$0")/../.."
carry=.carry
cache=$(deno info --json | sed -n 's/.*"denoDir": "\(.*\)".*/\1/p')
packages=(
  webgpu @webgpu/types debug ms
  onnxruntime-web onnxruntime-common flatbuffers guid-typescript long platform protobufjs @protobufjs @types/node undici-types
  @bufbuild/protobuf zod
)
debs=(libvulkan1 libx11-6 libxext6 libxcb1 libxau6 libxdmcp6 libbsd0 libmd0 libglvnd0 libegl1 libgl1 libglx0)

mkdir -p "$carry"
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT

# The one registry folder that holds our packages, whatever its name.
registry=$(dirname "$(find "$cache"/npm -maxdepth 2 -name webgpu -type d | head -1)")
target="$staging/deno_dir${registry#"$cache"}"
for package in "${packages[@]}"; do
  mkdir -p "$target/$(dirname "$package")"
  cp -r "$registry/$package" "$target/$package"
done
# Only the newest files of this platform: other addons, source maps and onnxruntime's other builds stay behind.
find "$target/webgpu" -path '*/dist/*' -name '*.node' ! -path '*/linux-x64/*' -delete
find "$target/webgpu" -path '*/dist/*' \( -name '*.dll' -o -name '*.dylib' \) -delete
find "$target" \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete
find "$target/onnxruntime-web" -path '*/dist/*' -name '*.wasm' ! -name '*.asyncify.wasm' -delete
find "$target/onnxruntime-web" -path '*/dist/ort*.js' -delete

tar -C "$staging" -c deno_dir | xz -9 -T2 > "$carry/deno_dir.tar.xz"
[ -s "$carry/deno.xz" ] || xz --x86 --lzma2=preset=9 -c "$(deno eval 'console.log(Deno.execPath())')" > "$carry/deno.xz"
# Deno wants every package of its configuration in the cache, so the packed one names only those that were packed.
deno eval '
  const { imports, unstable } = JSON.parse(Deno.readTextFileSync("deno.json"));
  const packed = Object.entries(imports).filter(([name]) =>
    Deno.args.some((p) => name === p || name.startsWith(p + "/")));
  console.log(JSON.stringify({ unstable, imports: Object.fromEntries(packed) }));
' "${packages[@]}" > "$carry/deno.json"
mkdir -p "$carry/debs"
(cd "$carry/debs" && for deb in "${debs[@]}"; do ls "${deb}"_*.deb > /dev/null 2>&1 || apt-get download "$deb"; done)
git rev-parse --short HEAD > "$carry/commit"
du -ch "$carry"/* | sort -h
