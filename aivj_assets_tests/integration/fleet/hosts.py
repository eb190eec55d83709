"""Hosts of their own on this machine: namespaces with a name, an address, a process table and a mounted shared folder.

The folder is served by OpenSSH's sftp-server over the hosts' network, so that a host that is cut off loses it too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from aivj_assets_tests.integration.fleet.services import answers, free_port, until

_SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")
# A shared folder whose files are as fresh as the network allows; after a cut it goes on where it was.
_MOUNT_OPTIONS = "dir_cache=no,attr_timeout=0,entry_timeout=0,negative_timeout=0,reconnect"
# The first process of a host, which takes care of orphans as a system's does.
_INIT = """
hostname "$1" && mount -t proc proc /proc || exit 1
sshfs -o "$2,directport=$3" "$5:$4" "$4" || exit 1
echo up
while :; do sleep 1; done
"""


def why_no_hosts() -> str | None:
    """Return why hosts cannot be made here, or None."""
    if os.name == "nt" or os.geteuid() != 0:
        return "network namespaces take root on Linux"
    missing = [name for name in ("ip", "nsenter", "unshare", "sshfs", "socat") if shutil.which(name) is None]
    if not any(Path(path).exists() for path in _SFTP_SERVERS):
        missing.append("sftp-server")
    return f"{', '.join(missing)} not installed" if missing else None


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


@dataclass
class Host:
    """A machine on the bridge; it has to be booted."""

    network: Network
    name: str
    number: int
    _init: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"{self.network.prefix}.{10 + self.number}"

    @property
    def disk(self) -> Path:
        """Its own folder for temporary files."""
        return self.network.folder / self.name

    @property
    def _cable(self) -> str:
        return f"{self.network.bridge}-{self.number}"

    def attach(self) -> None:
        """Give it its place in the network."""
        self.disk.mkdir(parents=True)
        space, cable = self.network.space(self.number), self._cable
        _call("ip", "netns", "add", space)
        _call("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        _call("ip", "link", "set", cable, "master", self.network.bridge, "up")
        _call("ip", "-n", space, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _call("ip", "-n", space, "link", "set", device, "up")

    def boot(self) -> None:
        """Start the host: its name, its process table, its mount of the shared folder."""
        network = self.network
        self._init = subprocess.Popen(
            ["ip", "netns", "exec", network.space(self.number), "unshare", "--uts", "--mount", "--pid", "--fork",
             "--kill-child", "sh", "-c", _INIT, "init", self.name, _MOUNT_OPTIONS,
             str(network.share_port), str(network.shared), network.address],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._init.stdout is not None
        line = self._init.stdout.readline()
        assert line == "up\n", line + self._init.stdout.read()

    def power_cut(self) -> None:
        """End everything on the host at once."""
        if self._init is not None and self._init.poll() is None:
            first = self._first_process()
            first.kill()
            self._init.wait(20)

    def _first_process(self) -> psutil.Process:
        assert self._init is not None
        # ip becomes unshare, whose child is the first process of the host's table.
        return psutil.Process(self._init.pid).children()[0]

    @property
    def prefix(self) -> list[str]:
        """What is put before a command so that it runs on the host."""
        target = str(self._first_process().pid)
        return ["nsenter", "--target", target, "--net", "--uts", "--mount", "--pid", "--"]

    def cut_off(self) -> None:
        """Pull the cable: database, broker and shared folder are gone, and nobody is told."""
        _call("ip", "link", "set", self._cable, "down")

    def reconnect(self) -> None:
        """Plug the cable in again."""
        _call("ip", "link", "set", self._cable, "up")


@dataclass
class Network:
    """A bridge of this machine's, with a server of the shared folder, and hosts."""

    folder: Path
    shared: Path
    subnet: int = field(default_factory=lambda: 1 + os.getpid() % 250)
    hosts: list[Host] = field(default_factory=list)
    share_port: int = 0
    _server: subprocess.Popen[bytes] | None = None

    @property
    def prefix(self) -> str:
        return f"10.97.{self.subnet}"

    @property
    def address(self) -> str:
        """This machine's own address among the hosts."""
        return f"{self.prefix}.1"

    @property
    def bridge(self) -> str:
        return f"aivj{self.subnet}"

    def space(self, number: int) -> str:
        """Return the name of a host's network namespace."""
        return f"{self.bridge}-host{number}"

    def open(self) -> None:
        """Make the bridge and serve the shared folder on it."""
        _call("ip", "link", "add", self.bridge, "type", "bridge")
        _call("ip", "address", "add", f"{self.address}/24", "dev", self.bridge)
        _call("ip", "link", "set", self.bridge, "up")
        self.share_port = free_port(self.address)
        program = next(path for path in _SFTP_SERVERS if Path(path).exists())
        listen = f"TCP-LISTEN:{self.share_port},bind={self.address},fork,reuseaddr"
        self._server = subprocess.Popen(["socat", listen, f"EXEC:{program}"], start_new_session=True)
        until(lambda: answers(self.address, self.share_port), "the server of the shared folder")

    def add(self, name: str) -> Host:
        """Attach and boot another host."""
        host = Host(self, name, len(self.hosts))
        self.hosts.append(host)
        host.attach()
        host.boot()
        return host

    def close(self) -> None:
        """Remove everything, whatever of it is there."""
        for host in self.hosts:
            host.power_cut()
            subprocess.run(["ip", "netns", "delete", self.space(host.number)], capture_output=True, check=False)
        if self._server is not None:
            self._server.terminate()
            self._server.wait(10)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)


@contextmanager
def opened_network(folder: Path, shared: Path) -> Iterator[Network]:
    """Make a network for as long as the block runs."""
    network = Network(folder, shared)
    with ExitStack() as stack:
        stack.callback(network.close)
        network.open()
        yield network
