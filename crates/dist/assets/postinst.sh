# The user of the nodes, then the units. Nothing is started, and a running node goes on with the version it was started with:
# the operator restarts one node at a time.
if command -v systemd-sysusers >/dev/null 2>&1; then
    systemd-sysusers /usr/lib/sysusers.d/ipe.conf
elif ! grep -q '^ipe:' /etc/passwd; then
    if command -v useradd >/dev/null 2>&1; then
        useradd --system --user-group --home-dir /var/lib/ipe --no-create-home --shell /usr/sbin/nologin ipe
    else
        echo "ipe: there is no program to add the user ipe; add it before a node is started" >&2
    fi
fi
if grep -q '^ipe:' /etc/group; then
    chgrp ipe /etc/ipe
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if systemctl --quiet is-active 'ipe@*.service'; then
        echo "ipe: running nodes go on with the version they were started with; restart them one at a time (systemctl restart ipe@NAME)"
    fi
fi
