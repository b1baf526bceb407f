#!/bin/sh
# Gets the clients that come from Debian, those that are missing. Without the right to, it says what to run as root.
# Those of PyPI are installed by the tests, in environments of their own (environments.py).
set -eu
missing=
need() { # package, file of it
  [ -e "$2" ] || missing="$missing $1"
}
need awscli /usr/bin/aws
need python3-boto3 /usr/lib/python3/dist-packages/boto3/__init__.py
need rclone /usr/bin/rclone
need restic /usr/bin/restic
need chromium /usr/bin/chromium
need chromium-driver /usr/bin/chromedriver
[ -n "$missing" ] || exit 0
install="apt-get install -y -qq --no-install-recommends$missing"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  printf 'These clients are tested and are not here:%s\nGet them as root: apt-get update && %s\n' "$missing" "$install" >&2
  exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive $install >/dev/null
