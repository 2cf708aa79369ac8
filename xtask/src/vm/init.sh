#!/bin/busybox sh
# The first process of a kernel under test: sets the system up, runs each of /programs and says how it ended.
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin HOME=/tmp
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

echo "@kernel $(uname -r)"
for program in /programs/*; do
    name=${program##*/}
    echo "@begin $name"
    sh "$program" 2>&1
    status=$?
    # A line that a program left open must not hide this one.
    echo
    echo "@end $name $status"
done
reboot -f
