#!/bin/sh
# Unchanged clients against a running node:  run.sh HTTP_URL WS_URL PRIVATE_KEY
#
# The libraries live outside the repository, in $IPE_CLIENTS (default ~/.cache/ipe-clients), where this script installs the
# pinned versions with npm and pip when IPE_CLIENTS_INSTALL=1. What is not there is reported as "not run".
set -u
[ $# -eq 3 ] || { echo "usage: run.sh HTTP_URL WS_URL PRIVATE_KEY" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
folder=${IPE_CLIENTS:-$HOME/.cache/ipe-clients}
failed=0

mkdir -p "$folder/hardhat" "$folder/forge/src" || exit 1
cp "$here"/*.mjs "$here"/*.py "$here"/*.sol "$here"/package.json "$folder/" || exit 1
cp "$here"/hardhat/* "$folder/hardhat/" || exit 1
cp -R "$here"/forge/* "$folder/forge/" && cp "$here"/Notes.sol "$folder/forge/src/" || exit 1
if [ "${IPE_CLIENTS_INSTALL:-0}" = 1 ]; then
    (cd "$folder" && npm install --no-audit --no-fund --silent) || echo "npm install failed in $folder" >&2
    (cd "$folder/hardhat" && npm install --no-audit --no-fund --silent) || echo "npm install failed in $folder/hardhat" >&2
    { [ -d "$folder/venv" ] || python3 -m venv "$folder/venv"; } && "$folder/venv/bin/pip" -q install web3==8.0.0 ||
        echo "pip install failed in $folder/venv" >&2
fi

cd "$folder" || exit 1
if [ -d node_modules/ethers ]; then
    node check.mjs "$1" "$2" "$3" || failed=1
    node contract.mjs notes.json || failed=1
else
    echo "not run: ethers, viem, cast (no node_modules in $folder)"
fi
if [ -x node_modules/.bin/forge ]; then
    node forge.mjs "$1" "$3" || failed=1
else
    echo "not run: forge (no node_modules in $folder)"
fi
if [ -x venv/bin/python ] && [ -f notes.json ]; then
    venv/bin/python check.py "$1" "$3" notes.json || failed=1
else
    echo "not run: web3.py (no venv in $folder)"
fi
if [ -d hardhat/node_modules/hardhat ] && [ -f notes.json ]; then
    (cd hardhat && HTTP_URL=$1 PRIVATE_KEY=$3 ARTIFACT=../notes.json \
        npx hardhat run --no-compile --network checked deploy.cjs) || failed=1
else
    echo "not run: hardhat (no node_modules in $folder/hardhat)"
fi
exit $failed
