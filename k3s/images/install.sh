#!/bin/sh
# install.sh EXTRAS [torch]: Hinterland with its extras at the lock file's versions, and a bill of what that brought.
set -eu
extras=$1
pip=/opt/hinterland/bin/pip

if [ "${2:-}" = torch ]; then
  pin=$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.lock)
  $pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --no-deps "$pin"
fi
$pip install "setuptools>=80"
$pip install --no-build-isolation -c requirements.lock ".[$extras]"

/opt/sbom/bin/pip install --quiet cyclonedx-bom==7.5.0
mkdir -p /usr/share/hinterland
/opt/sbom/bin/cyclonedx-py environment --output-reproducible --of JSON -o /usr/share/hinterland/sbom.cdx.json /opt/hinterland/bin/python
rm -rf /opt/sbom

# Compiled by content, not by time: the same sources give the same bytes.
find /opt/hinterland -name __pycache__ -prune -exec rm -r {} +
/opt/hinterland/bin/python -m compileall -f -q --invalidation-mode unchecked-hash /opt/hinterland/lib || true
