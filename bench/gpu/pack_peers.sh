#!/usr/bin/env bash
# Packs llama.cpp's Vulkan backend for a GPU machine without network into .carry-peers/ (git-ignored): the prebuilt
# libraries of an npm package, its own llama-batched-bench, compiled here against them in seconds, and its Python package
# that writes GGUF. The shaders are prebuilt with a compiler that knows the cooperative matrices of NVIDIA's driver; a
# backend built with an older glslc would go without and be a weaker peer.  Needs: npm, git, g++, xz.
set -euo pipefail
cd "$(dirname "$0")/../.."
carry=$PWD/.carry-peers
version=3.22.1
# Backends for the host's part of the graph; llama.cpp takes the best that the processor runs.
processors=(x64 haswell skylakex icelake sapphirerapids zen4)

mkdir -p "$carry"
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
cd "$staging"
# The first holds the libraries, the second the same release's source as a git bundle.
npm pack --silent "@node-llama-cpp/linux-x64-vulkan@$version" "node-llama-cpp@$version" > /dev/null
mkdir libraries source llama
tar -C libraries -xzf "node-llama-cpp-linux-x64-vulkan-$version.tgz"
tar -C source -xzf "node-llama-cpp-$version.tgz"
git clone -q source/package/llama/gitRelease.bundle llama.cpp 2> /dev/null

prebuilt=libraries/package/bins/linux-x64-vulkan
cp "$prebuilt"/libllama*.so "$prebuilt"/libggml.*.so "$prebuilt"/libggml-{base,vulkan}.so llama
for processor in "${processors[@]}"; do cp "$prebuilt/libggml-cpu-$processor.so" llama; done
includes=(-Illama.cpp/include -Illama.cpp/ggml/include -Illama.cpp/common -Illama.cpp/vendor)
g++ -O2 -std=c++17 "${includes[@]}" llama.cpp/tools/batched-bench/*.cpp -o llama/llama-batched-bench \
  llama/libllama*.so llama/libggml.*.so llama/libggml-base.so -Wl,-rpath,'$ORIGIN'
cp -r llama.cpp/gguf-py/gguf llama/gguf
cp llama.cpp/LICENSE llama
tar -c llama | xz -9 -T2 > "$carry/llama.tar.xz"
du -h "$carry/llama.tar.xz"
