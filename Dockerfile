# PostgreSQL's own image with the package that "make package" made:
#
#   make package && docker build --tag postgres-tenant-guard .
#
# The package needs the Debian release it was made on.
ARG PG=15
FROM postgres:${PG}-bookworm
ARG PG
COPY target/packages/postgresql-${PG}-tenant-guard_*.deb target/packages/tenant-guard-verify_*.deb /tmp/
RUN apt-get update \
    && apt-get install --yes --no-install-recommends /tmp/*.deb \
    && rm -rf /tmp/*.deb /var/lib/apt/lists/*
