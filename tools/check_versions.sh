#!/usr/bin/env bash
# Compiles the extension against every version of PostgreSQL that Cargo.toml names, with lints, where
# warnings are errors. One target directory for all: what does not know PostgreSQL is compiled once.

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

cd "$root"
versions=$(sed -n 's/^pg\([0-9]*\) = .*/\1/p' Cargo.toml)
failed=0
compiled=0
for version in $versions; do
    # Not with the PG_CONFIG of one version, which the caller may have set.
    env -u PG_CONFIG PG="$version" tools/setup.sh build
    begun=$SECONDS
    if CARGO_TARGET_DIR=$root/target/versions cargo clippy -q -p tenant_guard --no-default-features \
        --features "pg$version" -- -D warnings; then
        say "PostgreSQL $version: compiles ($((SECONDS - begun)) s)"
        compiled=$((compiled + 1))
    else
        say "PostgreSQL $version: does NOT compile"
        failed=$((failed + 1))
    fi
done
echo "test result: versions. $compiled passed; $failed failed; 0 ignored;"
[ "$failed" = 0 ]
