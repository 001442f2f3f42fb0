#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Our reader against the Python ones, with the real models that tests/run.sh names.
#
#   readers.sh PYTHON SGI
set -euo pipefail

python=$1 sgi=$2
models=()
for model in "${SGI_TEST_GGUF:-}" "${SGI_TEST_SAFETENSORS:-}"; do
    [[ -z $model ]] || models+=("$model")
done
if ! "$python" -c 'import gguf, ml_dtypes, numpy, safetensors' 2>/dev/null; then
    echo "the Python packages of tests/requirements.txt are not here (tests/run.sh installs them)"
    exit 77
fi
((${#models[@]} == 2)) || echo "SGI_TEST_GGUF or SGI_TEST_SAFETENSORS is not set: generated files only"
exec "$python" "$(dirname "${BASH_SOURCE[0]}")/compare_readers.py" "$sgi" "${models[@]}"
