#!/bin/sh
# Installs the Debian packages that the testbed's full cluster runs on and those that the gate is compared with or tested against, as
# far as they are missing. It starts no service: the testbed runs a containerd of its own.
set -eu

packages="haproxy nginx containerd runc containernetworking-plugins iptables nftables ipset conntrack iproute2 util-linux mount kmod ca-certificates openssl python3"

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	echo "packages.sh: this is no Debian or Ubuntu (apt-get is missing). Install by hand: $packages" >&2
	exit 1
fi
missing=""
for package in $packages; do
	if [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
		missing="$missing $package"
	fi
done
if [ -z "$missing" ]; then
	echo "packages.sh: all packages are there"
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "packages.sh: missing:$missing. Only root may install them: run sudo hack/packages.sh" >&2
	exit 1
fi
# A machine may have docker.io with a containerd of its own packaging, which Debian's would displace.
if command -v containerd >/dev/null && [ "${missing#* containerd}" != "$missing" ]; then
	echo "packages.sh: there is a containerd that is not Debian's; keeping it" >&2
	missing=$(echo "$missing" | sed 's/ containerd\( \|$\)/\1/; s/ runc\( \|$\)/\1/')
fi
export DEBIAN_FRONTEND=noninteractive
echo "packages.sh: installing$missing"
apt-get update -q
# Services of these packages are not started: policy-rc.d is how Debian is told so.
if [ ! -e /usr/sbin/policy-rc.d ]; then
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
fi
# shellcheck disable=SC2086 # a list of packages
apt-get install -q -y --no-install-recommends $missing
