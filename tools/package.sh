#!/usr/bin/env bash
# Makes what is installed elsewhere, below target/packages, and prints where it is:
#
#   image-volume-<PG>              the extension as lib/ and share/extension/: what CloudNativePG
#                                  mounts as an image volume (PostgreSQL 18 and later)
#   tenant-guard-verify            Debian package: the offline verifier, which needs no server
#   postgresql-<PG>-tenant-guard   Debian package: the extension, where the server is a Debian
#                                  package itself

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

cd "$root"
# Where it is built, and what it is made of, follows the machine: a package is for the Debian
# release and the architecture it was made on.
staged=$root/target/package$PG-release
out=$root/target/packages
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)
maintainer="the tenant_guard authors <tenant-guard@localhost>"
sharedir=$("$PG_CONFIG" --sharedir)
pkglibdir=$("$PG_CONFIG" --pkglibdir)

TENANT_GUARD_BUILD=release tools/build.sh
say "building tenant-guard-verify"
cargo build --release -q -p tenant_guard_verify

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# What a program or library needs of the system's packages. dpkg-shlibdeps wants to stand beside
# a debian/control.
needs() {
    mkdir -p "$work/shlibs/debian"
    touch "$work/shlibs/debian/control"
    (cd "$work/shlibs" && dpkg-shlibdeps -O --ignore-missing-info "$1" 2>/dev/null) |
        sed -n 's/^shlibs:Depends=//p'
}

# Everything but the files themselves: control, sums, documentation; then the package.
finish() {
    local name=$1 depends=$2 summary=$3 description=$4 tree=$work/$1
    install -D -m 0644 LICENSE "$tree/usr/share/doc/$name/copyright"
    gzip -9nc CHANGELOG.md >"$work/changelog.gz"
    install -D -m 0644 "$work/changelog.gz" "$tree/usr/share/doc/$name/changelog.gz"
    mkdir -p "$tree/DEBIAN"
    (cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
    cat >"$tree/DEBIAN/control" <<CONTROL
Package: $name
Version: $version-1
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Depends: $depends
Section: database
Priority: optional
Description: $summary
 $description
CONTROL
    find "$tree" -type d -exec chmod 0755 {} +
    dpkg-deb --root-owner-group --build "$tree" "$out/${name}_$version-1_$architecture.deb" >/dev/null
    printf '%s\n' "$out/${name}_$version-1_$architecture.deb"
}

# PostgreSQL's directory names differ between builds of it; these two are what all of them have.
volume=$out/image-volume-$PG
rm -rf "$volume"
mkdir -p "$volume/lib" "$volume/share/extension"
install -m 0755 "$staged$pkglibdir/tenant_guard.so" "$volume/lib/"
install -m 0644 "$staged$sharedir"/extension/tenant_guard* "$volume/share/extension/"
strip --strip-unneeded "$volume/lib/tenant_guard.so"
find "$volume" -type d -exec chmod 0755 {} +
printf '%s\n' "$volume"

install -D -m 0755 target/release/tenant-guard-verify "$work/tenant-guard-verify/usr/bin/tenant-guard-verify"
strip --strip-unneeded "$work/tenant-guard-verify/usr/bin/tenant-guard-verify"
finish tenant-guard-verify "$(needs "$work/tenant-guard-verify/usr/bin/tenant-guard-verify")" \
    "verifies bundles and receipts of tenant_guard ledgers" \
    "Says whether a ledger that the tenant_guard extension exported is intact, without a
 database and without trusting whoever runs it."

[ "$pkglibdir" = "/usr/lib/postgresql/$PG/lib" ] || exit 0
extension=postgresql-$PG-tenant-guard
mkdir -p "$work/$extension$pkglibdir" "$work/$extension$sharedir/extension"
install -m 0644 "$volume/lib/tenant_guard.so" "$work/$extension$pkglibdir/"
install -m 0644 "$volume"/share/extension/* "$work/$extension$sharedir/extension/"
for page in README.md SECURITY.md docs/*.md; do
    install -D -m 0644 "$page" "$work/$extension/usr/share/doc/$extension/$page"
done
finish "$extension" "postgresql-$PG, $(needs "$work/$extension$pkglibdir/tenant_guard.so")" \
    "tenant isolation enforced and proven inside PostgreSQL $PG" \
    "Verifies JSON Web Tokens in the database, binds each transaction to one account, holds
 tables to it by row security, and records changes in a hash-chained ledger.
 A superuser runs CREATE EXTENSION tenant_guard in each database that needs it."
