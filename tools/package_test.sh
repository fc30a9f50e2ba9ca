#!/usr/bin/env bash
# Installs the packages into a clean root, a Debian with nothing but apt, and pastes the README's
# example there: what somebody has who downloads them. The server in it listens on a socket inside
# of that root only.

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

mapfile -t made < <("$root/tools/package.sh")
make_state
# Its /tmp is everybody's, so a directory that is root's alone stands above it.
closed=$state/clean
clean=$closed/root
in_root() { as_root chroot "$clean" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive "$@"; }
# pg_ctlcluster looks its server up in /proc, which is not mounted there; the server's own program
# starts and stops it.
in_pg_ctl() {
    in_root runuser -u postgres -- sh -c "cd / && exec /usr/lib/postgresql/$PG/bin/pg_ctl -s -w \
        -D /var/lib/postgresql/$PG/main -o '-c config_file=/etc/postgresql/$PG/main/postgresql.conf' $*"
}
leave() {
    in_pg_ctl stop -m immediate >&2 || true
    as_root rm -rf --one-file-system "$closed"
}
as_root rm -rf --one-file-system "$closed"
as_root mkdir -m 0700 "$closed"
trap leave EXIT

. /etc/os-release
say "making a clean root of Debian $VERSION_CODENAME"
as_root mmdebstrap --quiet --variant=apt "$VERSION_CODENAME" "$clean" >&2
as_root cp /etc/resolv.conf "$clean/etc/"
for file in "${made[@]}"; do [ -d "$file" ] || as_root cp "$file" "$clean/tmp/"; done

say "installing with apt"
# A container's root may mount nothing, so no init starts the cluster: it is made below.
in_root sh -c 'apt-get update -q && apt-get install -y -q --no-install-recommends /tmp/*.deb' >&2
in_root sh -c "pg_lsclusters -h | grep -q '^$PG  *main ' || pg_createcluster $PG main" >&2
in_root sh -c "echo \"listen_addresses = ''\" >>/etc/postgresql/$PG/main/postgresql.conf"
in_pg_ctl start -l /tmp/server.log >&2

passed=0
failed=0
expect() {
    if [ "$(grep -cE "$2" <<<"$shown")" = "$1" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        say "the clean root does not show $1 times: $2"
    fi
}

shown=$(sed -n '/^```sh$/,/^```$/{/^```/!p}' "$root/README.md" |
    in_root runuser -u postgres -- bash -euo pipefail 2>&1) || true
expect 1 '^ acme +\| +[0-9]+ \| rope$'
expect 0 'laser'
expect 1 '^ERROR: '
expect 1 '^ERROR:  no identity is bound to this transaction$'
expect 1 '^ insert +\| acme +\| dana '
expect 1 '^ tenant_guard/[0-9a-f]{16}/1 +\+$'
example=$shown

# What tests make go wrong is in no package (src/fault.rs).
shown=$(in_root sh -c "grep -c -e fault_points -e seal.block_written /usr/lib/postgresql/$PG/lib/tenant_guard.so") || true
expect 1 '^0$'

shown=$(in_root runuser -u postgres -- bash -euo pipefail -c '
    cd /tmp
    psql -qAtc "COPY (SELECT * FROM tenant_guard.export_ledger()) TO STDOUT" shop |
        tenant-guard-verify bundle -' 2>&1) || true
expect 1 ': intact$'
bundle=$shown

shown=$(in_root apt-get purge -y -q "postgresql-$PG-tenant-guard" 2>&1
    in_root sh -c "find /usr/lib/postgresql /usr/share/postgresql -name 'tenant_guard*'") || true
expect 0 '^/usr/.*tenant_guard'

[ "$failed" = 0 ] || printf '%s\n' "$example" "$bundle" "$shown" >&2
printf 'test result: package. %s passed; %s failed; 0 ignored;\n' "$passed" "$failed"
[ "$failed" = 0 ]
