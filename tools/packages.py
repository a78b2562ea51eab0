"""Debian packages for what is built from them, through the host's apt but without touching its state."""

import os
import re
import subprocess
import sys
import threading
import time

RELEASE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Failure(Exception):
    pass


class Progress:
    """One line on a terminal that says what is going on; nothing anywhere else."""

    def __init__(self):
        self.tty = sys.stderr.isatty()
        self.name = os.path.basename(sys.argv[0])

    def show(self, text):
        if self.tty:
            sys.stderr.write(f"\r\033[K{self.name}: {text}")
            sys.stderr.flush()

    def clear(self):
        if self.tty:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


progress = Progress()


def run(*command, text="", env=None, cwd=None):
    """Standard output of a command that reads a text; its last words as a Failure if it fails."""
    env = dict(env or os.environ)
    env["PATH"] = env.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(command, env=env, cwd=cwd, input=text, capture_output=True, text=True)
    except FileNotFoundError:
        raise Failure(f"{command[0]} is not installed; tools/setup run media installs what is needed") from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-4:]
        raise Failure(f"{' '.join(command[:3])}: " + "\n    ".join(words or [f"exit code {done.returncode}"]))
    return done.stdout


def write(path, data):
    """A file is there whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "wb") as out:
        out.write(data)
    os.replace(path + ".new", path)


def read(path, default=b""):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return default


class Apt:
    """apt with its own state: both architectures, the host's Debian mirrors, nothing installed."""

    def __init__(self, directory):
        self.directory = directory
        self.updated = False
        self.env = dict(os.environ, APT_CONFIG=os.path.join(directory, "apt.conf"), LC_ALL="C")

    def update(self):
        if self.updated:
            return
        progress.show("reading Debian's package lists")
        for name in ("lists/partial", "archives/partial", "log"):
            os.makedirs(os.path.join(self.directory, name), exist_ok=True)
        write(os.path.join(self.directory, "status"), b"")
        write(os.path.join(self.directory, "sources.list"), self.sources().encode())
        write(self.env["APT_CONFIG"], self._config().encode())
        run("apt-get", "update", "-q", env=self.env)
        self.updated = True

    @staticmethod
    def network():
        """How this host reaches the network, as lines of apt's configuration; its hooks, pins and other settings are not ours to run."""
        return [line for line in run("apt-config", "dump").splitlines()
                if line.startswith("Acquire::") and "IndexTargets" not in line and "Languages" not in line]

    def _config(self):
        own = f"""
            Dir::State "{self.directory}";
            Dir::State::status "{self.directory}/status";
            Dir::Cache "{self.directory}";
            Dir::Log "{self.directory}/log";
            Dir::Etc::sourcelist "{self.directory}/sources.list";
            Dir::Etc::sourceparts "/dev/null";
            Dir::Etc::main "/dev/null";
            Dir::Etc::parts "/dev/null";
            Dir::Etc::preferences "/dev/null";
            Dir::Etc::preferencesparts "/dev/null";
            APT::Architecture "amd64";
            APT::Architectures {{ "amd64"; "i386"; }};
            APT::Sandbox::User "root";
            Acquire::Languages "none";
            Acquire::Retries "3";
            Acquire::PDiffs "false";
            Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
            Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
            """
        return "\n".join(self.network()) + re.sub(r"\n +", "\n", own)

    @staticmethod
    def sources():
        """Where the host gets this release from. The release alone: guests are the same until a point release."""
        site = None
        for target in run("apt-get", "indextargets", "--format", "$(CREATED_BY) $(RELEASE) $(COMPONENT) $(SITE)").splitlines():
            if target.startswith(f"Packages {RELEASE} main "):
                site = target.split()[3]
        if not site:
            raise Failure(f"apt has no source for Debian {RELEASE}: add one to /etc/apt/sources.list, then run apt-get update")
        options = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
        return f"deb {options}{site} {RELEASE} main\n"

    def newest_kernel(self, package, architecture):
        """linux-image-686 is only a name for the newest linux-image-6.1.0-N-686: that name."""
        self.update()
        depends = run("apt-cache", "depends", "--important", f"{package}:{architecture}", env=self.env)
        match = re.search(r"^\s*Depends: (linux-image-\d[^\s:]*)", depends, re.MULTILINE)
        if not match:
            raise Failure(f"{package} depends on no kernel:\n{depends}")
        return match.group(1)

    def download(self, package, architecture):
        """The path of a package file, fetched and checked by apt."""
        self.update()
        show = run("apt-cache", "show", "--no-all-versions", f"{package}:{architecture}", env=self.env)
        name = os.path.basename(re.search(r"^Filename: (\S+)", show, re.MULTILINE).group(1))
        size = int(re.search(r"^Size: (\d+)", show, re.MULTILINE).group(1))
        archives = os.path.join(self.directory, "archives")
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(archives, package, size, done))
        watcher.start()
        try:
            run("apt-get", "download", "-q", f"{package}:{architecture}", env=self.env, cwd=archives)
        finally:
            done.set()
            watcher.join()
        for candidate in os.listdir(archives):
            # apt writes a ':' of the version as "%3a" in the file's name.
            if candidate.startswith(package + "_") and candidate.endswith((f"_{architecture}.deb", "_all.deb")):
                return os.path.join(archives, candidate)
        raise Failure(f"apt-get download left no {name}")

    @staticmethod
    def _watch(archives, package, size, done):
        start = time.monotonic()
        while progress.tty and not done.wait(0.2):
            have = 0
            for directory in (archives, os.path.join(archives, "partial")):
                for name in os.listdir(directory):
                    if name.startswith(package + "_"):
                        have = max(have, os.stat(os.path.join(directory, name)).st_size)
            progress.show(f"fetching {package}, {have >> 20} of {size >> 20} MiB, {time.monotonic() - start:.0f} s")
