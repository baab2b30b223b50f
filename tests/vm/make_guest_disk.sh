#!/usr/bin/env bash
# usage: make_guest_disk.sh OUT.raw
#
# Makes a disk that a PC boots from: an MBR with GRUB, one ext4 partition with Debian's packages and
# Debian's cloud kernel. Needs no root, mounts nothing and installs nothing: packages are downloaded with
# this machine's own apt sources and unpacked. What was made is kept in build/guest, so that the second
# time is only a copy.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${COPPICE_GUEST_CACHE:-$repo/build/guest}
out=${1:?usage: make_guest_disk.sh OUT.raw}

packages=(
  base-files base-passwd bash coreutils dash debianutils diffutils dpkg e2fsprogs findutils grep gzip
  hostname less libc-bin login mawk mount ncurses-base procps sed sysvinit-utils tar usr-is-merged
  util-linux busybox-static perl-base nbd-client
)
disk_mib=512
partition_mib=511 # from 1 MiB on; GRUB's core stands in the gap before it

# The recipe is part of the name: who changes it gets a new disk.
recipe=$(cat "${BASH_SOURCE[0]}" "$here"/guest/* | sha256sum | cut -c1-12)
image=$cache/debian-$recipe.raw

# Files of Debian's packages belong to root in the guest, also when a user unpacks them.
if [[ ! -e $image && $(id -u) -ne 0 && -z ${FAKEROOTKEY:-} ]]; then
  exec fakeroot -- "$0" "$@"
fi

say() { echo "make_guest_disk: $*" >&2; }

# apt with a package database of its own, in which nothing is installed: it then sees the whole closure of
# dependencies, and the machine's own packages and caches are left alone.
apt_options=(-qq -y -o Debug::NoLocking=1 -o APT::Sandbox::User=root -o Acquire::Retries=3
  -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
own_apt() {
  apt-get "${apt_options[@]}" -o Dir::State::status="$work/no-packages" "$@"
}

fetch() {
  mkdir -p "$cache/debs/partial"
  : >"$work/no-packages"
  own_apt -o Dir::Cache::archives="$cache/debs" --no-install-recommends --download-only \
    install "${packages[@]}" >>"$work/apt.log" 2>&1 || return 1
  local meta=linux-image-cloud-amd64
  kernel_package=$(apt-cache "${apt_options[@]:2}" depends "$meta" 2>>"$work/apt.log" |
    awk '/Depends: linux-image/ && !n++ { print $2 }')
  [[ -n $kernel_package ]] || return 1
  # Alone: its dependencies would bring a generator of initramfs images, and ours is simpler.
  (cd "$cache/debs" && apt-get "${apt_options[@]}" download "$kernel_package") >>"$work/apt.log" 2>&1
}

# This machine's lists of packages may be absent or out of date; then apt fetches lists for us alone.
fetch_with_own_lists() {
  mkdir -p "$cache/lists/partial"
  apt_options+=(-o Dir::State::lists="$cache/lists")
  apt-get "${apt_options[@]}" update >>"$work/apt.log" 2>&1 || true
  fetch
}

unpack() { # DEB FOLDER; links such as /bin -> usr/bin stay links
  dpkg-deb --fsys-tarfile "$1" | tar -x -p --keep-directory-symlink -C "$2"
}

make_root() {
  root=$work/root
  mkdir -p "$root"/{usr/{bin,sbin,lib,lib64},dev,proc,sys,run,tmp,root,srv,var/lib/dpkg}
  local name
  for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
  local deb
  list_debs >"$work/debs"
  while read -r deb; do
    unpack "$deb" "$root"
    # So that `dpkg -l` in the guest tells what it is made of. They are unpacked, not configured.
    { dpkg-deb -f "$deb" | awk 'NR==1 { print; print "Status: install ok unpacked"; next } { print }'; echo; } \
      >>"$root/var/lib/dpkg/status"
  done <"$work/debs"
  cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
  cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
  echo coppice-guest >"$root/etc/hostname"
  ln -sf bash "$root/usr/bin/sh"
  rm -rf "$root/usr/share/"{doc,man,locale,info,lintian}
  install -m 755 "$here/guest/init" "$root/usr/sbin/init"
  install -m 755 "$here/guest/agent" "$root/usr/sbin/guest-agent"
  install -m 755 "$here/guest/poweroff" "$root/usr/sbin/poweroff"
  install -m 644 "$here/guest/profile" "$root/root/.bashrc"
}

# The closure that apt chose today; older versions may lie in the cache beside it. With an empty archive,
# because apt names only what it would still have to download.
list_debs() {
  mkdir -p "$work/no-archive/partial"
  own_apt -o Dir::Cache::archives="$work/no-archive" --no-install-recommends --print-uris \
    install "${packages[@]}" | awk -v dir="$cache/debs/" '{ print dir $2 }'
}

# For tests with the kernel's own NBD client, and with its loop devices: what `busybox modprobe` finds in the guest.
install_modules() { # KERNEL-FOLDER RELEASE
  local from=$1/lib/modules/$2 to=$root/usr/lib/modules/$2 name path
  [[ -d $from ]] || from=$1/usr/lib/modules/$2
  mkdir -p "$to"
  for name in virtio_ring virtio failover net_failover virtio_net nbd fuse loop; do
    path=$(cd "$from" && find kernel -name "$name.ko*" | head -n 1)
    [[ -n $path ]] || continue # built into this kernel
    mkdir -p "$to/$(dirname "$path")"
    case $path in
      *.xz) xz -dc "$from/$path" >"$to/${path%.xz}" ;;
      *) cp "$from/$path" "$to/$path" ;;
    esac
  done
  cp "$from"/modules.{builtin,builtin.modinfo,order} "$to"
  depmod -b "$root" "$2"
}

# ext4 is built into Debian's cloud kernel; the virtio disk isn't, so an initramfs brings its modules.
make_boot() {
  local kernel=$work/kernel initramfs=$work/initramfs release module
  mkdir -p "$kernel" "$initramfs"/{bin,dev,proc,sys,root,modules} "$root/boot/grub"
  unpack "$(ls -t "$cache/debs/$kernel_package"_*.deb | head -n 1)" "$kernel"
  release=$(basename "$(echo "$kernel"/boot/vmlinuz-*)")
  release=${release#vmlinuz-}
  cp "$kernel/boot/vmlinuz-$release" "$root/boot/vmlinuz"
  install_modules "$kernel" "$release"
  cp "$root/usr/bin/busybox" "$initramfs/bin/busybox"
  install -m 755 "$here/guest/initramfs-init" "$initramfs/init"
  local number=0
  # In the order in which they need each other.
  for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk \
    crc32c-intel; do
    local file target
    file=$(find "$kernel" -name "$module.ko*" | head -n 1)
    [[ -n $file ]] || continue # built into this kernel
    number=$((number + 1))
    target=$initramfs/modules/$(printf '%02d' $number)-$module.ko
    case $file in
      *.xz) xz -dc "$file" >"$target" ;;
      *) cp "$file" "$target" ;;
    esac
  done
  (cd "$initramfs" && find . | cpio --quiet -o -H newc -R 0:0) | gzip -1 >"$root/boot/initrd.img"
  install -m 644 "$here/guest/grub.cfg" "$root/boot/grub/grub.cfg"
}

make_disk() {
  local raw=$work/disk.raw core=$work/core.img
  truncate -s "${disk_mib}M" "$raw"
  echo "start=1MiB, size=${partition_mib}MiB, type=83, bootable" | /usr/sbin/sfdisk -q "$raw"
  # shellcheck disable=SC2016  # $root is GRUB's
  printf 'set root=(hd0,msdos1)\nset prefix=($root)/boot/grub\nconfigfile /boot/grub/grub.cfg\n' \
    >"$work/grub-early.cfg"
  grub-mkimage -O i386-pc -o "$core" -p '(hd0,msdos1)/boot/grub' -c "$work/grub-early.cfg" \
    biosdisk part_msdos ext2 linux normal configfile serial terminal echo
  # What grub-install does to an MBR: boot.img reads the core from sector 1 on, where grub-mkimage
  # expects it; the partition table behind byte 440 stays.
  dd if=/usr/lib/grub/i386-pc/boot.img of="$raw" bs=440 count=1 conv=notrunc status=none
  dd if="$core" of="$raw" bs=512 seek=1 conv=notrunc status=none
  mke2fs -q -t ext4 -b 4096 -L root -O ^metadata_csum_seed,^orphan_file -E offset=$((1 << 20)),root_owner=0:0 \
    -m 0 -d "$root" "$raw" "${partition_mib}M"
  mv "$raw" "$image.new"
  mv "$image.new" "$image"
}

PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # one at a time; whoever comes second finds the work done
if [[ ! -e $image ]]; then
  work=$(mktemp -d "$cache/work.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "fetching Debian's packages and cloud kernel (nothing is installed)"
  if ! fetch && ! fetch_with_own_lists; then
    cat "$work/apt.log" >&2
    say "apt-get could not download the guest's packages (above)"
    exit 2
  fi
  say "unpacking them and filling the file system"
  make_root
  make_boot
  make_disk
fi
mkdir -p "$(dirname "$out")"
cp --sparse=always "$image" "$out"
