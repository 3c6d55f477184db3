#!/usr/bin/env bash
# The first process of a fake machine, in namespaces of its own: host_init.sh NAME ADDRESS FOLDER HOSTS [VISIBLE ...]
# FOLDER holds its home, /tmp and /run; each path of VISIBLE is seen from inside at the same place.
set -euo pipefail
name=$1 address=$2 folder=$3 hosts=$4
shift 4
home=$(getent passwd root | cut -d: -f6)

# Own folders will lie over the machine's, so what shall stay visible below them is bound into them first.
for path in "$@"; do
  case $path in
    "$home"/*) inside=$folder/home${path#"$home"} ;;
    /tmp/*) inside=$folder$path ;;
    *) continue ;;
  esac
  mkdir -p "$inside"
  mount --rbind "$path" "$inside"
done
mount --bind "$hosts" /etc/hosts
mount -t tmpfs -o size=16g,mode=1777 none /dev/shm
mount --rbind "$folder/run" /run
mount --rbind "$folder/tmp" /tmp
mount --rbind "$folder/home" "$home"
hostname "$name"
cd /

# The network is plugged in from outside.
until ip -4 addr show | grep -q "inet $address/"; do sleep 0.02; done
exec "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f /dev/null -h /run/host_key -o "ListenAddress=$address" \
  -o PidFile=none -o PermitRootLogin=prohibit-password -o PasswordAuthentication=no -o UsePAM=no -o StrictModes=no
