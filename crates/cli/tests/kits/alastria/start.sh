#!/bin/bash
set -e
cp /data/alastria-node/templates/static-nodes.json /data/alastria-node/data/
if [ ! -f /data/alastria-node/keys/key ]; then
  besu --data-path=/data/alastria-node/data public-key export --to=/data/alastria-node/keys/key.pub
fi
exec /opt/besu/bin/besu --config-file="config/config.toml" --p2p-host=${PUBLIC_IP}
