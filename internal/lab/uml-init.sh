#!/bin/sh
# The first process of a user-mode Linux guest: runs the scripts that appear in
# a folder of the host, one after the other.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mkdir -p /run/modules/lib /run/host
ln -s /usr/lib/uml/modules /run/modules/lib/modules
mount -t hostfs none /run/host -o @DIR@
mount -t tmpfs tmp /tmp
cd /run/host || exit 1
modprobe -d /run/modules -a ipv6 8021q
# Whole frames: XDP sees what is on the wire.
ethtool -K vec0 tx off tso off gso off
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip link set lo up
ip link set vec0 up
n=0
while :; do
	if [ -e $n.sh ]; then
		sh ./$n.sh >$n.out 2>&1 </dev/null
		echo $? >$n.new
		mv $n.new $n.status
		n=$((n + 1))
	else
		sleep 0.1
	fi
done
