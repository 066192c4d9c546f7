#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A machine of its own on top of this one: boots systemd on a copy of / that is written to memory only. Runs as the
# first process of new namespaces (mount, pid, network, uts, ipc, cgroup), with which everything that it made ends.
# What it has written is to be seen below /run/written.
# usage: boot.sh EMPTY_DIRECTORY [FOLDER]     FOLDER: to be seen as /media
set -eu

place=$1 folder=${2-}
mount --make-rprivate /
mount -t tmpfs tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$place/root"
cd "$place/root"

mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/lock run/written
mount --bind "$place/upper" run/written
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
# As systemd mounts it on a real machine: for root alone.
mount -t bpf -o mode=0700 bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup
[ -z "$folder" ] || mount --bind "$folder" media

# Nothing of the machine below starts, and nothing changes what namespaces do not separate (sysctls, modules, mounts).
rm -rf etc/systemd/system
mkdir -p etc/systemd/system
for unit in systemd-sysctl systemd-modules-load systemd-remount-fs systemd-udevd systemd-udev-trigger systemd-random-seed; do
    ln -s /dev/null "etc/systemd/system/$unit.service"
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nWants=network-pre.target multi-user.target\nAllowIsolate=yes\n' \
    >etc/systemd/system/machine.target
ln -s machine.target etc/systemd/system/default.target
: >etc/machine-id

pivot_root . mnt
umount -l /mnt
ip link set lo up
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --log-target=journal
