"""A network in which every packet that would leave this machine is seen, and none does.

`watched` runs a command in a network namespace of its own. All addresses of the internet lead back
into it there, so whatever a process sends elsewhere passes the one interface and is read. Traffic
among 127.0.0.1 and ::1 is no finding; a question for a name is one, whoever would have answered it.

Run as a module it is the inner half: it reads packets while the command runs, and tells them.
"""

import contextlib
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_PREPARE = """
set -e
ip link set lo up
ip route add local 0.0.0.0/0 dev lo
ip -6 route add local ::/0 dev lo 2>/dev/null || true
echo "nameserver 192.0.2.53" > "$1"
mount --bind "$1" /etc/resolv.conf
shift
exec "$@"
"""
# From <linux/if_packet.h>; `socket` does not have them all.
_SOL_PACKET, _PACKET_STATISTICS, _ALL_PROTOCOLS = 263, 6, 3
_IPV4, _IPV6 = 0x0800, 0x86DD
_DNS_PORT = 53
_BUFFER_BYTES = 64 << 20
_HOME_NET = ipaddress.ip_network("127.0.0.0/8")


@dataclass(frozen=True)
class Watched:
    """How a command ended, and where it wanted to send something.

    Attributes:
        status: Of the command.
        left: Destinations outside of this machine, and every question for a name.
        num_packets: All that were seen, those that stay on the machine among them.
        num_missed: That came faster than they were read.
        errors: The end of what was said on stderr.
    """

    status: int
    left: tuple[str, ...]
    num_packets: int
    num_missed: int
    errors: str


def watched(command: Sequence[str], folder: Path, *, seconds: float, **environment: str) -> Watched:
    """Run a command where nothing can leave; skip, or fail in CI, where that cannot be made.

    Args:
        command: To be run.
        folder: For the files that this needs.
        seconds: It must have ended by then.
        environment: Variables beside those of this process, without any about proxies or Flower.
    """
    entry = [*_namespace(), "sh", "-c", _PREPARE, "sh", str(folder / "resolv.conf")]
    done = subprocess.run(
        [*entry, sys.executable, "-m", "tests.packet_watch", *command],
        cwd=_ROOT, env={**_bare_environment(), **environment},
        capture_output=True, text=True, check=False, timeout=seconds,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Watched(**told | {"left": tuple(told["left"])}, errors=done.stderr[-3000:])


def _bare_environment() -> Mapping[str, str]:
    """What a person has: no switch of Flower's, and no proxy that would hide where packets go."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("FLWR_")
    }


def _namespace() -> list[str]:
    tried: list[str] = []
    for user in ([], ["--map-root-user"]):
        entry = ["unshare", *user, "--net", "--mount"]
        probe = (
            "ip link set lo up && ip route add local 192.0.2.0/24 dev lo && mount -t tmpfs x /mnt"
        )
        try:
            done = subprocess.run(
                [*entry, "sh", "-c", probe], capture_output=True, text=True, check=False, timeout=30
            )
        except OSError as error:
            tried.append(str(error))
            continue
        if done.returncode == 0:
            return entry
        tried.append(done.stderr.strip())
    reason = f"no network namespace can be made here (unshare --net --mount): {tried}"
    if os.environ.get("FEDWARD_CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class _Packets:
    left: set[str]
    num_packets: int = 0
    num_missed: int = 0


@contextlib.contextmanager
def _reading() -> Iterator[_Packets]:
    packets = _Packets(set())
    reader = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_PROTOCOLS))
    with reader:
        # The bound of every account is 200 kB; who may not go beyond it may miss some, and is told.
        with contextlib.suppress(OSError):
            reader.setsockopt(socket.SOL_SOCKET, 33, _BUFFER_BYTES)  # SO_RCVBUFFORCE
        reader.settimeout(0.2)
        ended = threading.Event()
        thread = threading.Thread(target=_read, args=(reader, packets, ended))
        thread.start()
        try:
            yield packets
        finally:
            ended.set()
            thread.join()
            counted = reader.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            packets.num_missed = struct.unpack("II", counted)[1]


def _read(reader: socket.socket, packets: _Packets, ended: threading.Event) -> None:
    while True:
        try:
            content, address = reader.recvfrom(128)
        except TimeoutError:
            if ended.is_set():
                return
            continue
        if address[2] == socket.PACKET_OUTGOING:  # each is also seen as it comes back in
            packets.num_packets += 1
            left = _destination(address[1], content)
            if left:
                packets.left.add(left)


def _destination(protocol: int, packet: bytes) -> str:
    """Say where a packet goes, if that is away or asks for a name."""
    if protocol == _IPV4:
        to: Any = ipaddress.ip_address(packet[16:20])
        begin, kind = 4 * (packet[0] & 15), packet[9]
    elif protocol == _IPV6:
        to = ipaddress.ip_address(packet[24:40])
        begin, kind = 40, packet[6]
    else:
        return f"protocol {protocol:#06x}"
    has_port = kind in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
    port = int.from_bytes(packet[begin + 2 : begin + 4], "big") if has_port else 0
    is_home = to in _HOME_NET if protocol == _IPV4 else to.is_loopback
    return "" if is_home and port != _DNS_PORT else f"{to} port {port}"


def main() -> None:
    """Run the command of the arguments and tell what left, as the last line."""
    with _reading() as packets:
        done = subprocess.run(sys.argv[1:], stdout=sys.stderr, check=False)
    told = {
        "status": done.returncode,
        "left": sorted(packets.left),
        "num_packets": packets.num_packets,
        "num_missed": packets.num_missed,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
