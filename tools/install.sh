#!/usr/bin/env bash
# Builds the extension for release and installs it into the PostgreSQL that PG_CONFIG names,
# as root when its directories need that. The one script here that changes that PostgreSQL.

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

cd "$root"
staged=$root/target/package$PG-release
sharedir=$("$PG_CONFIG" --sharedir)
pkglibdir=$("$PG_CONFIG" --pkglibdir)

# It refuses a release with fault points.
TENANT_GUARD_BUILD=release tools/build.sh
say "building tenant-guard-verify"
cargo build --release -q -p tenant_guard_verify
bindir=$("$PG_CONFIG" --bindir)

maybe_root=()
[ -w "$sharedir/extension" ] && [ -w "$pkglibdir" ] && [ -w "$bindir" ] || maybe_root=(as_root)
say "installing into $sharedir/extension and $pkglibdir"
"${maybe_root[@]}" install -m 0644 "$staged$sharedir"/extension/tenant_guard* "$sharedir/extension/"
"${maybe_root[@]}" install -m 0755 "$staged$pkglibdir/tenant_guard.so" "$pkglibdir/"
"${maybe_root[@]}" install -m 0755 target/release/tenant-guard-verify "$bindir/"
say "done: CREATE EXTENSION tenant_guard"
