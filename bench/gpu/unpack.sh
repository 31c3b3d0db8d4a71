#!/usr/bin/env bash
# Unpacks .carry/ (made by pack.sh) into WORK, so that later calls need not carry it. Needs: xz, dpkg-deb.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ ! -e .carry/deno.xz ]; then
  echo "error: .carry/ is not there; bash bench/gpu/pack.sh makes it, where there is a network" >&2
  exit 1
fi
work=${WORK:-$HOME/.cache/hyades-gpu}
mkdir -p "$work/bin" "$work/lib"
xz -dc .carry/deno.xz > "$work/bin/deno"
chmod +x "$work/bin/deno"
tar -C "$work" -xJf .carry/deno_dir.tar.xz
for deb in .carry/debs/*.deb; do dpkg-deb -x "$deb" "$work/lib"; done
cp .carry/commit .carry/deno.json "$work"
echo "unpacked into $work: $("$work/bin/deno" --version | head -1)"
