#!/bin/sh
# Install Prometheus and its node-exporter where they are missing: as root on Debian and Ubuntu from the distribution, without their
# services; elsewhere the official releases into .tools/, held against the checksums that are published beside them.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:$PWD/.tools"

release() { # project, version: unpacks its release into .tools/
  system=$(uname -s | tr '[:upper:]' '[:lower:]')
  case $(uname -m) in x86_64) machine=amd64 ;; aarch64 | arm64) machine=arm64 ;; *) machine=$(uname -m) ;; esac
  file=$1-$2.$system-$machine.tar.gz
  address=https://github.com/prometheus/$1/releases/download/v$2
  mkdir -p .tools
  curl --fail --silent --show-error --location --output ".tools/$file" "$address/$file"
  curl --fail --silent --show-error --location "$address/sha256sums.txt" | grep " $file\$" | (cd .tools && sha256sum --check --quiet)
  tar -xzf ".tools/$file" -C .tools --strip-components=1
  rm ".tools/$file"
}

for tool in prometheus prometheus-node-exporter; do
  command -v $tool > /dev/null && continue
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends $tool
    [ ! -d /run/systemd/system ] || systemctl disable --now $tool # `make up` and `make monitor` start it themselves
  elif [ $tool = prometheus ]; then
    release prometheus 3.5.0
  else
    release node_exporter 1.9.1
    ln -sf node_exporter .tools/$tool
  fi
  command -v $tool > /dev/null || { echo "error: $tool was not installed; see what is said above." >&2; exit 1; }
done
