#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a GPU can be measured for, without the tests: those steps of tests/gpu/run.sh, with its options.
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/../tests/gpu/run.sh" --only bench --only peers --only probe "$@"
