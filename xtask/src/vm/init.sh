#!/bin/busybox sh
# The first process of a kernel under test: sets the system up, runs the live tests and says how they ended. The kernel
# gives it as environment what stands on its command line.
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin HOME=/tmp OBSERVER_EMULATED=1 OBSERVER_BINARY=/usr/bin/observer
mkdir -p /proc /sys /tmp /run /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/net
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for module in /modules/*.ko; do
    insmod "$module" || echo "cannot load $module"
done
ip link set lo up
# tcpdump asks who root is.
mkdir -p /etc
echo root:x:0:0:root:/tmp:/bin/sh >/etc/passwd

if [ -e /observer.bpf.o ]; then
    export OBSERVER_BPF_OBJECT=/observer.bpf.o
fi
echo "@kernel $(uname -r)"
live --show-output --test-threads 2 2>&1
status=$?
# A line that the tests left open must not hide this one.
echo
echo "@end $status"
reboot -f
