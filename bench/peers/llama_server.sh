#!/usr/bin/env bash
# llama.cpp's server, on this machine's CPU, as a completion server for CLIENTS editors:
#
#   LLAMA_SERVER=path/to/llama-server bash bench/peers/llama_server.sh MODEL.gguf PORT CLIENTS [more flags]
#
# --parallel, --ctx-size   a slot for each editor, each of the model's whole context (--ctx-size is all slots' together)
# --batch-size 1024        what its editors' plugins recommend; /infill keeps three quarters of it before the cursor and
#                          one behind, so a smaller prompt than ours; a larger batch takes longer and is reused no more
# --predict 512            only so that it leaves no room for the made-up file header that it else puts before a prompt
#                          of StarCoder's; requests ask for fewer tokens
# --cache-ram 0            its copies of idle slots cost time, and /infill never reads them back
# --metrics                the counters that the load test reads
# OMP_WAIT_POLICY=passive  threads that wait sleep: spinning, they take the cores from the load test's own process, and
#                          the server all but stands still; OMP_WAIT_POLICY=active for a machine with cores to spare
#
# Left out: --cache-reuse, which moves cached keys to other positions by turning them as if the model had rotary
# embeddings, and --spm-infill, whose layout is not the one that StarCoder was trained on: both answer with another
# model's text.
set -eu
model=$1 port=$2 clients=$3
shift 3
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
exec "${LLAMA_SERVER:-llama-server}" --model "$model" --host 127.0.0.1 --port "$port" --metrics --no-ui \
  --parallel "$clients" --ctx-size $((2048 * clients)) --batch-size 1024 --ubatch-size 512 --predict 512 \
  --threads "$(nproc)" --flash-attn on --cache-ram 0 "$@"
