#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a GPU can be measured for, without the tests: the steps bench, peers and probe of tests/gpu/run.sh.
#
#   bench/gpu.sh [options]
#
# Its options are those of tests/gpu/run.sh; --only and --list know these three steps:
set -euo pipefail

# shellcheck disable=SC2034 # looked at there
figures_only=1
# shellcheck source=tests/gpu/run.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/gpu/run.sh"
