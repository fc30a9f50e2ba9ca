#!/usr/bin/env bash
# Runs the demo on a new cluster named "demo" and leaves that running, to look around in.
#
#   tools/demo.sh [SABOTAGE]     a sabotage breaks one guard, so that the demo must fail

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

say "starting a private PostgreSQL (the one of an earlier demo goes)"
socket=$("$root/tools/cluster.sh" start demo)
outcome=0
# Debian's Python has the packages; another one may be first on the path.
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$root/demo/demo.py" "$socket" "$@" || outcome=$?
printf '\nThe server goes on running. To look around as the superuser:\n\n    %s\n\n' \
    "$(bindir)/psql -h $socket -U postgres"
printf '"make demo-stop" ends it.\n'
exit $outcome
