#!/bin/bash
# Debian's ARM64 compiler, and in DEST the ARM64 libraries that the native core links: for cmake/arm64.cmake. As root.
# The system's own packages stay as they are but for the compiler. A second call does nothing.  usage: arm64.sh DEST
set -euo pipefail
dest=$(mkdir -p "$1" && cd "$1" && pwd)
[ -f "$dest/complete" ] && exit 0
apt-get update -qq
apt-get install -y -qq --no-install-recommends g++-aarch64-linux-gnu cmake >/dev/null
apt=$dest/apt
mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,debs}
: > "$apt/status"
options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State=$apt/state" -o "Dir::Cache=$apt/cache"
  -o "Dir::State::status=$apt/status" -o APT::Sandbox::User=root -o Acquire::Languages=none)
apt-get "${options[@]}" update
(cd "$apt/debs" && apt-get "${options[@]}" download nlohmann-json3-dev libminizip-dev zlib1g-dev libmbedtls-dev \
  libsoxr-dev libsoxr0 libgomp1 libsndfile1-dev libsndfile1 libflac12 libvorbis0a libvorbisenc2 libogg0 libopus0 \
  libmpg123-0 libmp3lame0)
for deb in "$apt"/debs/*.deb; do dpkg -x "$deb" "$dest"; done
rm -rf "$apt"
touch "$dest/complete"
