"""A whole SLURM on this machine, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import PATIENCE

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "srun")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld_port}
SlurmdPort={slurmd_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
StateSaveLocation={folder}/slurmctld
SlurmdSpoolDir={folder}/slurmd
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SchedulerParameters=sched_interval=1,sched_min_interval=0
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def missing() -> str | None:
    """Why no SLURM can be started here, or None."""
    if os.name != "posix" or os.geteuid() != 0:
        return "SLURM's daemons are started as root"
    found = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
    lacking = [program for program in PROGRAMS if shutil.which(program, path=found) is None]
    return f"not installed: {', '.join(lacking)} (Debian: slurm-wlm munge)" if lacking else None


@dataclass(frozen=True)
class Slurm:
    """A running SLURM; `environment` makes its commands talk to it."""

    folder: Path
    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """What a SLURM command prints."""
        answer = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)
        if answer.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {answer.stderr}\n{self.logs()}")
        return answer.stdout

    def processes(self, job: str) -> list[int]:
        """The processes of a running job, those of srun's task first."""
        rows = [line.split() for line in self.ask("scontrol", "listpids", job).splitlines()[1:]]
        return [int(row[0]) for row in sorted(rows, key=lambda row: row[2] == "batch") if row[2] != "extern"]

    def logs(self) -> str:
        return "\n".join(path.read_text()[-1500:] for path in sorted(self.folder.glob("*.log")))


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """munged, slurmctld and slurmd on free ports, with all their state below `folder`; nothing is left of them."""
    folder.chmod(0o755)
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [server.getsockname()[1] for server in free]
    for server in free:
        server.close()
    host = socket.gethostname().split(".")[0]
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=folder, host=host, slurmctld_port=ports[0], slurmd_port=ports[1], cpus=os.cpu_count()
        )
    )
    for name in ("slurmctld", "slurmd"):
        (folder / name).mkdir()
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
    here = Slurm(folder, os.environ | {"SLURM_CONF": str(configuration), "PATH": path})
    with contextlib.ExitStack() as daemons:
        daemons.callback(_end_steps, here)
        daemons.enter_context(_munged(folder / "munge"))
        daemons.enter_context(_daemon(["slurmctld", "-D", "-f", str(configuration)], here))
        daemons.enter_context(_daemon(["slurmd", "-D", "-N", host, "-f", str(configuration)], here))
        wait_for(lambda: "IDLE" in here.ask("scontrol", "show", "node", host), "the node to be idle", here.logs)
        yield here
        subprocess.run(["scancel", "--user=root"], env=here.environment, capture_output=True, timeout=PATIENCE)
        wait_for(lambda: not here.ask("squeue", "--noheader"), "the queue to be empty", here.logs)


@contextlib.contextmanager
def _munged(folder: Path) -> Iterator[None]:
    """munged as its own user with a key of its own."""
    folder.mkdir(mode=0o755)
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    for path in (folder, folder / "key"):
        shutil.chown(path, "munge", "munge")
    files = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
    command = ["munged", "--foreground", *(f"--{name}={folder / file}" for name, file in files.items())]
    said = folder.parent / "munged.log"
    with open(said, "w") as out:
        process = subprocess.Popen(
            command, user="munge", group="munge", extra_groups=[], cwd=folder, stdout=out, stderr=subprocess.STDOUT
        )
    with _ended(process):
        wait_for((folder / "socket").exists, "munged's socket", said.read_text)
        yield


@contextlib.contextmanager
def _daemon(command: list[str], here: Slurm) -> Iterator[None]:
    log = here.folder / f"{command[0]}.log"
    with open(log, "w") as out:
        process = subprocess.Popen(command, env=here.environment, stdout=out, stderr=subprocess.STDOUT)
    with _ended(process):
        yield


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_steps(here: Slurm) -> None:
    """Kill what a failed test may have left: a job outlives slurmd, and everything of ours has `folder` in its name."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "environ").read_bytes().split(b"\0")
                if f"SLURM_CONF={here.folder / 'slurm.conf'}".encode() in words:
                    os.kill(int(entry.name), signal.SIGKILL)


def wait_for(condition: Callable[[], bool], what: str, said: Callable[[], str], seconds: float = PATIENCE) -> None:
    """Return when it is so; fail after `seconds`, with what `said` tells."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}\n{said()}")
        time.sleep(0.05)
