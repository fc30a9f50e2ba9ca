#!/usr/bin/env bash
# Throwaway PostgreSQL clusters on the private tree made by tools/build.sh: a private data
# directory, a private Unix socket, no TCP and nobody let in by it, never the root user.
#
#   tools/cluster.sh start NAME [SETTING=VALUE]...   makes a new cluster in place of an old one of
#                                                    that name and prints its socket directory
#   tools/cluster.sh hold NAME [SETTING=VALUE]...    start, then drop at the end of standard
#                                                    input: it goes when its user goes, however
#   tools/cluster.sh backup NAME LABEL               a base backup of a running cluster; prints where
#   tools/cluster.sh hold_backup NAME DIRECTORY SIGNAL [SETTING=VALUE]...
#                                                    hold, of a base backup; SIGNAL is standby,
#                                                    recovery or none
#   tools/cluster.sh hold_upgrade NAME OLD [SETTING=VALUE]...
#                                                    hold, of what pg_upgrade makes of the cluster
#                                                    OLD, of this version or another, which it stops
#   tools/cluster.sh pool NAME ROLE...               starts PgBouncer before a running cluster, with
#                                                    the settings of standard input, lets the roles
#                                                    in and prints its socket directory, port 6432
#   tools/cluster.sh disk NAME MEGABYTES             mounts a small disk of its own for a cluster, until it
#                                                    is dropped, and prints where; may fail
#   tools/cluster.sh restart NAME [SETTING=VALUE]... stop and start, data kept; settings on the command line
#   tools/cluster.sh stop NAME                       stops it, data kept
#   tools/cluster.sh drop NAME                       stops it and removes its data
#   tools/cluster.sh psql NAME [ARGUMENT]...         psql as the superuser
#   tools/cluster.sh bindir                          where the private programs stand

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

command=${1:-}
name=${2:-}

usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

pg_ctl() { as_server_user "$bin/pg_ctl" -D "$dir/data" -s -w "$@"; }

running() { [ -d "$dir/data" ] && as_server_user "$bin/pg_ctl" -D "$dir/data" status >/dev/null 2>&1; }

stop() {
    stop_pooler
    ! running || pg_ctl stop -m fast -t 60 || pg_ctl stop -m immediate
}

drop() {
    stop
    ! mountpoint -q "$dir/disk" || unmount_memory "$dir/disk"
    rm -rf "$dir"
}

start_server() {
    local options=() setting
    for setting in "$@"; do options+=(-o "-c $setting"); done
    as_server_user touch "$dir/log"
    # Descriptor 9 is a lock of the caller; a server that inherited it would keep it for good.
    pg_ctl start -t 60 -l "$dir/log" "${options[@]}" 9>&- </dev/null >/dev/null || {
        tail -n 20 "$dir/log" >&2
        die "cluster \"$name\" does not start"
    }
}

# A new initdb each time takes half a second and gives each cluster a system identifier of its
# own, which a copied data directory would not have.
create() {
    as_server_user mkdir -m 0700 "$dir"
    as_server_user "$bin/initdb" -D "$dir/data" -U postgres --auth-local=trust --auth-host=reject -E UTF8 --locale=C -N \
        --no-instructions "${initdb_options[@]}" >/dev/null || die "initdb of cluster \"$name\" failed"
    let_in
    configure "$@"
}

# The directory of the socket decides who comes in: it is the server user's alone. Nobody comes by TCP,
# even where a test has the server listen.
let_in() {
    as_server_user tee "$dir/data/pg_hba.conf" >/dev/null <<'LINES'
local all all trust
local replication all trust
host all all all reject
host replication all all reject
LINES
}

configure() {
    local setting
    {
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$dir'"
        echo "unix_socket_permissions = 0700"
        echo "max_connections = 200"
        echo "max_prepared_transactions = 20"
        echo "max_worker_processes = 16"
        echo "timezone = 'UTC'"
        echo "log_timezone = 'UTC'"
        # Which database's, for tests that share a server.
        echo "log_line_prefix = '%m [%p] %d '"
        # A container may have as little as 64 MB of it, in which the buffers of a few databases fit.
        [ "$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')" -ge 262144 ] 2>/dev/null ||
            echo "dynamic_shared_memory_type = mmap"
        for setting in "$@"; do
            case $setting in
            [a-z]*=*) echo "${setting%%=*} = '${setting#*=}'" ;;
            *) die "\"$setting\" is not SETTING=VALUE" ;;
            esac
        done
    } | as_server_user tee -a "$dir/data/postgresql.conf" >/dev/null
}

start() {
    local length
    length=$(printf %s "$dir/.s.PGSQL.65535" | wc -c)
    [ "$length" -le 107 ] || die "\"$dir\" is too long for a Unix socket: set TMPDIR"
    drop
    create "$@"
    start_server
    printf '%s\n' "$dir"
}

backup() {
    local directory=$dir/backup_$1
    as_server_user "$bin/pg_basebackup" -h "$dir" -U postgres -D "$directory" -X stream -c fast ||
        die "cluster \"$name\" gives no base backup"
    printf '%s\n' "$directory"
}

start_backup() {
    local backup=$1 signal=$2
    shift 2
    drop
    as_server_user mkdir -m 0700 "$dir"
    as_server_user cp -a "$backup" "$dir/data"
    [ "$signal" = none ] || as_server_user touch "$dir/data/$signal.signal"
    configure "$@"
    start_server
    printf '%s\n' "$dir"
}

start_upgrade() {
    local log=$dir/upgrade.log old old_version old_bin
    old=$(place_of "$1")
    shift
    old_version=$(cat "$old/data/PG_VERSION")
    old_bin=$(env -u PG_CONFIG PG="$old_version" "${BASH_SOURCE[0]}" bindir)
    drop
    # Both sides have checksums or none, and from 18 on a new one has them by default.
    if [ "$PG" -ge 18 ] && [ "$old_version" -lt 18 ]; then initdb_options=(--no-data-checksums); fi
    create "$@"
    as_server_user "$old_bin/pg_ctl" -D "$old/data" -s -w stop -m fast
    as_server_user mkdir "$dir/upgrade"
    as_server_user env -C "$dir/upgrade" "$bin/pg_upgrade" -U postgres -b "$old_bin" -B "$bin" \
        -d "$old/data" -D "$dir/data" -s "$dir" >"$log" 2>&1 || {
        cat "$log" >&2
        die "pg_upgrade of cluster \"$name\" failed"
    }
    start_server
    printf '%s\n' "$dir"
}

# Settings given first, places last: PgBouncer takes the last value of a setting. One section, because
# a second one of the same name would begin with the defaults again.
pool() {
    [ -x "$pgbouncer" ] || die "PgBouncer is not unpacked yet: run \"tools/setup.sh test\""
    local pooler=$dir/pooler waited=0
    stop_pooler
    rm -rf "$pooler"
    as_server_user mkdir -m 0700 "$pooler"
    printf '"%s" ""\n' "$@" | as_server_user tee "$pooler/users" >/dev/null
    {
        echo "[pgbouncer]"
        sed '/^\[pgbouncer\]$/d'
        echo
        echo "listen_addr ="
        echo "listen_port = 6432"
        echo "unix_socket_dir = $pooler"
        echo "unix_socket_mode = 0700"
        echo "logfile = $pooler/log"
        echo "pidfile = $pooler/pid"
        echo "auth_type = trust"
        echo "auth_file = $pooler/users"
        echo "[databases]"
        echo "* = host=$dir"
    } | as_server_user tee "$pooler/settings.ini" >/dev/null
    as_server_user "$pgbouncer" -q -d "$pooler/settings.ini" 9>&- </dev/null >/dev/null || {
        cat "$pooler/log" >&2
        die "the pooler of cluster \"$name\" does not start"
    }
    # It opens its socket after it has gone to the background.
    until [ -S "$pooler/.s.PGSQL.6432" ]; do
        [ $((waited += 1)) -le 100 ] || {
            tail -n 20 "$pooler/log" >&2
            die "the pooler of cluster \"$name\" opens no socket"
        }
        sleep 0.1
    done
    printf '%s\n' "$pooler"
}

disk() {
    as_server_user mkdir "$dir/disk"
    mount_memory "$dir/disk" "$1"
    printf '%s\n' "$dir/disk"
}

stop_pooler() {
    local pid waited=0
    pid=$(cat "$dir/pooler/pid" 2>/dev/null) || return 0
    # A process id may have passed to somebody else after a crash.
    grep -qsaF "$dir/pooler/settings.ini" "/proc/$pid/cmdline" || return 0
    kill -TERM "$pid"
    while [ -d "/proc/$pid" ] && [ $((waited += 1)) -le 100 ]; do sleep 0.1; done
}

# The holder must outlive an interrupt that ends the process it serves, to clean up after it.
hold() {
    trap '' INT TERM HUP
    # A start that fails leaves nothing behind either.
    trap drop EXIT
    "$@"
    cat >/dev/null
}

initdb_options=()
bin=$(bindir)
# Extensions of a server that is no package of the system's must not load the system's libpq.
[ "$PG" = "$DEBIAN_PG" ] || export LD_LIBRARY_PATH="$(dirname "$bin")/lib"
[ -x "$bin/postgres" ] || die "there is no private PostgreSQL yet: run \"make build\""
[ "$command" != bindir ] || { printf '%s\n' "$bin" && exit; }
case $name in '' | *[!a-z0-9_]*) usage ;; esac
make_state
dir=$(place_of "$name")
shift 2

case $command in
start) start "$@" ;;
hold) hold start "$@" ;;
backup) backup "$@" ;;
hold_backup) hold start_backup "$@" ;;
hold_upgrade) hold start_upgrade "$@" ;;
pool) pool "$@" ;;
disk) disk "$@" ;;
restart)
    stop
    start_server "$@"
    ;;
stop) stop ;;
drop) drop ;;
psql) exec "$bin/psql" -X -h "$dir" -U postgres "$@" ;;
*) usage ;;
esac
