#!/usr/bin/env bash
# llama.cpp's server as a completion server for CLIENTS editors on this machine's CPU, its port PORT:
#   LLAMA_SERVER=path/to/llama-server bash bench/peers/llama_server.sh MODEL.gguf PORT CLIENTS [more flags]
set -eu
model=$1 port=$2 clients=$3
shift 3
exec "${LLAMA_SERVER:-llama-server}" --model "$model" --host 127.0.0.1 --port "$port" --metrics --no-ui \
  --parallel "$clients" --ctx-size $((2048 * clients)) --batch-size 1024 --ubatch-size 512 --predict 512 \
  --threads "$(nproc)" --flash-attn on --cache-ram 0 "$@"
