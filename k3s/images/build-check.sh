#!/usr/bin/env bash
# build-check.sh TARGET…: build images without a Docker engine and without a registry, and see that they run.
#
# The base comes from debootstrap instead of a registry; buildah builds with its chroot isolation. Needs root, and
# apt-get install buildah debootstrap. PIP_CERT, PIP_FIND_LINKS and TORCH_INDEX are handed on to the build.
set -euo pipefail
cd "$(dirname "$0")/../.."
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
base=localhost/hinterland-base:bookworm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '{"default":[{"type":"insecureAcceptAnything"}]}' > "$work/policy.json"
tool() { local what=$1; shift; buildah "$what" --signature-policy "$work/policy.json" "$@"; }

if ! buildah images --quiet "$base" > /dev/null 2>&1; then
  debootstrap --variant=minbase bookworm "$work/root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" > "$work/log" 2>&1 \
    || { tail -3 "$work/log"; exit 1; }
  container=$(tool from scratch)
  buildah add --quiet "$container" "$work/root" / > /dev/null
  tool commit --quiet --rm "$container" "$base" > /dev/null
fi

[ $# -gt 0 ] || set -- coordinator agent
for target in "$@"; do
  volumes=()
  [ -z "${PIP_CERT:-}" ] || volumes+=(-v "$(dirname "$PIP_CERT"):/etc/host-certs:ro" --build-arg "PIP_CERT=/etc/host-certs/$(basename "$PIP_CERT")")
  [ -z "${PIP_FIND_LINKS:-}" ] || volumes+=(-v "$PIP_FIND_LINKS:/etc/host-wheels:ro" --build-arg PIP_FIND_LINKS=/etc/host-wheels)
  [ -z "${TORCH_INDEX+x}" ] || volumes+=(--build-arg "TORCH_INDEX=$TORCH_INDEX")
  tool bud --pull-never --layers --timestamp 0 --quiet --target "$target" --tag "localhost/hinterland/$target" \
    --ignorefile k3s/images/Dockerfile.dockerignore --file k3s/images/Dockerfile \
    --build-arg "BASE=$base" "${volumes[@]}" . > "$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
  container=$(tool from --pull-never "localhost/hinterland/$target")
  command=hinterland-agent
  [ "$target" != coordinator ] || command=hinterland-coordinator
  buildah run "$container" -- sh -ec "
    test \"\$(id -u)\" = 10001
    ! touch /opt/hinterland/x 2> /dev/null
    $command --help > /dev/null
    test -s /usr/share/hinterland/sbom.cdx.json
    [ $target != coordinator ] || { mosquitto -h | head -1; hinterland-coordinator init --fleet wards | tail -1; }"
  buildah rm "$container" > /dev/null
  echo "$target: built, runs as 10001, writes nowhere else"
done
