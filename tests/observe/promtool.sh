#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The metrics as Prometheus itself reads them, and as its linter likes them.
#
#   promtool.sh OBSERVED      the program of observed.c
set -euo pipefail

observed=$1
promtool=${SGI_TEST_PROMTOOL:-$(command -v promtool || true)}
if [[ ! -x $promtool ]]; then
    echo "there is no promtool (Debian: prometheus; tests/run.sh unpacks it)"
    exit 77
fi
text=$(mktemp)
trap 'rm -f "$text"' EXIT
"$observed" metrics >"$text"
"$promtool" check metrics <"$text"
echo "$(grep -c '^# TYPE' "$text") families, $(grep -vc '^#' "$text") samples"

# Does it look at all? A text that is wrong must be refused, and a bad name be found.
if (cat "$text" && echo 'sgi_leases{model="broken} 1') | "$promtool" check metrics >/dev/null 2>&1; then
    echo "promtool takes a broken text for a good one"
    exit 1
fi
if sed 's/sgi_prefetch_total/sgi_prefetches/' "$text" | "$promtool" check metrics >/dev/null 2>&1; then
    echo "promtool takes a counter without _total for a good one"
    exit 1
fi
