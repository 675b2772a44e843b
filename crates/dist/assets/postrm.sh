if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
if [ -d /var/lib/ipe ]; then
    echo "ipe: keys, signing journals and chains stay in /var/lib/ipe, settings in /etc/ipe; delete them yourself when they are not needed"
fi
