#!/usr/bin/env bash
# Starts a real S3 server on this machine alone: one Ceph monitor, one OSD in memory, one gateway.
#
#   infra/s3/start_s3.sh FOLDER [PORT]    new state in FOLDER; endpoint http://127.0.0.1:PORT
#   infra/s3/stop_s3.sh FOLDER
#
# For tests: objects are stored in memory (2 GB at most) and lost after a stop. The script needs the
# packages ceph-mon, ceph-osd, radosgw, ceph-common and curl of Debian or Ubuntu. The monitor uses
# PORT + 1 and PORT + 2. LONGTAKE_S3_KEY is the access key (default longtake) and LONGTAKE_S3_SECRET
# its secret (default longtake-secret).
set -euo pipefail
mkdir -p "${1:?usage: start_s3.sh FOLDER [PORT]}"
state="$(cd "$1" && pwd)"
port="${2:-7480}"
key="${LONGTAKE_S3_KEY:-longtake}"
secret="${LONGTAKE_S3_SECRET:-longtake-secret}"
stop="$(cd "$(dirname "$0")" && pwd)/stop_s3.sh"
"$stop" "$state"
rm -rf "${state:?}"/{mon,osd,rgw,run,ceph.conf,keyring,monmap}
mkdir -p "$state"/{mon,osd,rgw,run}
cd "$state"
trap '"$stop" "$state"; echo "no S3 server: see $state/run" >&2' ERR

monitor="[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]"
fsid="$(cat /proc/sys/kernel/random/uuid)"
# The daemons use no authentication among themselves. This also needs "crc" below, since otherwise
# the gateway waits forever for the secure mode. One copy and few placement groups are enough here.
cat > ceph.conf <<END
[global]
fsid = $fsid
mon initial members = a
mon host = $monitor
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon service mode = crc
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd memory target = 939524096
admin socket =
run dir = $state/run
pid file = $state/run/\$name.pid
log file = $state/run/\$name.log
crash dir = $state/run
[mon.a]
mon data = $state/mon
[osd.0]
osd data = $state/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd class load list = *
osd class default list = *
[client.rgw]
rgw data = $state/rgw
rgw frontends = beast endpoint=127.0.0.1:$port
rgw dns name = localhost
rgw enable usage log = false
rgw gc max objs = 8
rgw thread pool size = 16
END
export CEPH_CONF="$state/ceph.conf"

waits_for() {  # COMMAND...: repeats it until it succeeds, for at most 60 s
  for _ in $(seq 300); do
    if "$@" > /dev/null 2>&1; then return; fi
    sleep 0.2
  done
  return 1
}
osd_is_up() { timeout 60 ceph --keyring keyring osd stat 2> /dev/null | grep -q '1 up'; }

ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *' > /dev/null
ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' > /dev/null
monmaptool --create --fsid "$fsid" --addv a "$monitor" monmap > /dev/null
ceph-mon --mkfs -i a --monmap monmap --keyring keyring
ceph-mon -i a
osd_id="$(cat /proc/sys/kernel/random/uuid)"
timeout 60 ceph --keyring keyring osd new "$osd_id" > /dev/null
ceph-osd -i 0 --mkfs --osd-uuid "$osd_id" 2> /dev/null
ceph-osd -i 0 > /dev/null
waits_for osd_is_up
timeout 120 radosgw -n client.rgw
waits_for curl -sf "http://127.0.0.1:$port/"
timeout 60 radosgw-admin -n client.rgw user create --uid=longtake --display-name=longtake \
  --access-key="$key" --secret="$secret" > /dev/null 2>> run/admin.log
echo "http://127.0.0.1:$port"
