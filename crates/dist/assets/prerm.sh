# Before the executable goes, not at an upgrade.
if [ -d /run/systemd/system ]; then
    systemctl stop 'ipe@*.service' || true
fi
