#!/bin/sh
# Links Prometheus and Alertmanager, with promtool and amtool, into .tools/: those on the PATH, else the system's packages.
# A program that somebody has put into .tools/ stays.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .tools

PROMETHEUS=2.42.0
ALERTMANAGER=0.25.0

on_path() { # $1: a program, under its own name or Debian's
  command -v "prometheus-$1" || command -v "$1"
}

missing() { # prints the packages that hold what is neither in .tools/ nor on the PATH
  for program in prometheus promtool alertmanager amtool; do
    [ -x ".tools/$program" ] || on_path "$program" >/dev/null || case $program in
      prom*) echo prometheus ;;
      *) echo prometheus-alertmanager ;;
    esac
  done | sort -u
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install() { # $@: packages
  command -v apt-get >/dev/null || return 1
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || return 1
  echo "installing $*"
  # They are wanted as programs: Debian would start them as services too, on their default ports, now and at each boot.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap 'as_root rm -f $policy' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
  fi
  as_root apt-get update -qq >.tools/apt.log 2>&1 &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>.tools/apt.log 2>&1 ||
    { cat .tools/apt.log >&2; return 1; }
  if command -v systemctl >/dev/null; then as_root systemctl disable --quiet "$@" || true; fi
}

no_tools() { # $1: what is wrong
  cat >&2 <<END
$1, and this machine's packages can't be installed or hold no better.
  - With root or sudo, on Debian or Ubuntu, \`make tools\` installs them: apt-get install prometheus prometheus-alertmanager
  - Or put prometheus and promtool ($PROMETHEUS or later), alertmanager and amtool ($ALERTMANAGER or later) on the PATH or
    into .tools/: https://prometheus.io/download has them for every system; no root needed. Then run \`make tools\` again.
  - Or run their containers, which take the same files: prom/prometheus:v$PROMETHEUS and prom/alertmanager:v$ALERTMANAGER
END
  exit 1
}

check() { # $1: a program; $2: the least version
  [ -x ".tools/$1" ] || ln -sf "$(on_path "$1")" ".tools/$1" || no_tools "There is no $1"
  version=$(".tools/$1" --version 2>&1 | sed -n 's/.*version v\{0,1\}\([0-9.]*\).*/\1/p' | head -n 1)
  if [ "$(printf '%s\n%s\n' "$2" "$version" | sort -V | head -n 1)" != "$2" ]; then
    [ ! -L ".tools/$1" ] || rm ".tools/$1" # the next run looks again
    no_tools "$1 is of version ${version:-unknown}, older than $2"
  fi
}

packages=$(missing)
# One word for each package.
# shellcheck disable=SC2086
[ -z "$packages" ] || install $packages || no_tools "There is no $(echo $packages)"
check prometheus $PROMETHEUS
check promtool $PROMETHEUS
check alertmanager $ALERTMANAGER
check amtool $ALERTMANAGER
