#!/usr/bin/env bash
# Builds the extension and puts it into a private copy of the system's PostgreSQL, from which
# the demo, the tests and the benches start their servers. The system's own PostgreSQL is only
# read. PostgreSQL finds lib and share relative to its programs, so a copy works anywhere.
#
# TENANT_GUARD_BUILD says which build: see tools/env.sh. Those for tests have fault points (src/fault.rs),
# a release must not.

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

source=$root
flags=(--debug)
features="pg$PG fault_points"
# Another version compiles other bindings: it has a target directory of its own.
if [ "$PG" != "$DEBIAN_PG" ]; then export CARGO_TARGET_DIR=$root/target/pg$PG; fi
case $build in
debug) ;;
release)
    flags=()
    features="pg$PG"
    ;;
sabotage)
    source=$root/target/sabotage/source
    # Cargo gives the library of both sources the same file name, so they must not share this.
    export CARGO_TARGET_DIR=$root/target/sabotage/target
    ;;
*) die "unknown build \"$build\"" ;;
esac
staged=$root/target/package$PG-$build

copy_postgres() {
    local stamp what from to
    stamp="$PG_CONFIG $("$PG_CONFIG" --version)"
    [ "$(cat "$tree/.copied" 2>/dev/null)" != "$stamp" ] || return 0
    say "copying $("$PG_CONFIG" --version) into $tree"
    rm -rf "$tree"
    for what in bindir pkglibdir sharedir; do
        from=$("$PG_CONFIG" --$what)
        to=$(in_tree "$from")
        mkdir -p "$to"
        # Real files: a program behind a symbolic link would find the system's directories.
        cp -rL "$from/." "$to/"
    done
    # For just-in-time inlining and for building extensions; large, and not needed here.
    to=$(in_tree "$("$PG_CONFIG" --pkglibdir)")
    rm -rf "$to/bitcode" "$to/pgxs"
    "$(bindir)/pg_config" --sharedir | grep -qxF "$(in_tree "$("$PG_CONFIG" --sharedir)")" ||
        die "the copy of \"$PG_CONFIG\" does not find its own directories"
    printf '%s\n' "$stamp" >"$tree/.copied"
}

package() {
    cd "$source"
    cargo pgrx package "${flags[@]}" --no-default-features --features "$features" --pg-config "$PG_CONFIG" --out-dir "$staged" \
        >"$staged.log" 2>&1 || {
        cat "$staged.log" >&2
        die "the extension does not build"
    }
    local found=without
    ! grep -q fault_points "$staged$("$PG_CONFIG" --pkglibdir)/tenant_guard.so" || found=with
    case "$features $found" in
    *" fault_points with" | "pg$PG without") ;;
    *) die "the $build build is $found fault points" ;;
    esac
}

# install(1) replaces a file instead of writing into it: a running server keeps the old library.
install_staged() {
    local pkglibdir sharedir
    pkglibdir=$("$PG_CONFIG" --pkglibdir)
    sharedir=$("$PG_CONFIG" --sharedir)
    rm -f "$(in_tree "$sharedir")"/extension/tenant_guard*
    install -m 0644 "$staged$sharedir"/extension/tenant_guard* "$(in_tree "$sharedir")/extension/"
    install -m 0755 "$staged$pkglibdir"/tenant_guard.so "$(in_tree "$pkglibdir")/"
}

make_state
mkdir -p "$root/target"
exec 9>"$state/.build.lock"
flock 9
say "building the extension ($build)"
package
copy_postgres
install_staged
