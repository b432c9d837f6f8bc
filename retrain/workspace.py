"""The retrain job's own git and DVC repository: data and models under hashes, one commit for each retraining.

Nothing of a user's checkout is touched. Data and models go to DVC's remote, `.dvc_storage/` unless CRACK_DVC_REMOTE names
another (`s3://bucket/path`, with the credentials that DVC looks for); git holds pointers, parameters and figures.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import yaml
from configobj import ConfigObj

from crack.files import sync_everything, whole

REASON_FILE = "reason.txt"  # in which a stage that fails says why
CODE_FILE = "code.txt"  # what the stages run; a stage whose code has changed runs again
JOB_PID = "CRACK_RETRAIN_PID"  # stages end with the process that it names
_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("crack", "export", "model", "retrain")
_IGNORED = "/lock\n/data.tmp\n"  # how .gitignore begins, in workspaces of all versions
_BEFORE_IT = {
    "lock",
    "unrecorded",
    "lost+found",
    ".git",
    ".dvc",
    ".dvcignore",
    ".gitignore",
}  # may be there before the first one
_REMOTE = 'remote "storage"'  # a section of DVC's configuration
_FULL_BYTES = 10**6
_NOT_FOR_DVC = {  # it formats both places into its messages; the remote's is also a value in an INI file with interpolation
    "CRACK_RETRAIN_WORKSPACE": re.compile(r"[{}\udc80-\udcff]"),
    "CRACK_DVC_REMOTE": re.compile(r"[{}\udc80-\udcff\r\n]|%\([^)]*\)s"),
}
_IDENTITY = {"GIT_AUTHOR_NAME": "retrain", "GIT_AUTHOR_EMAIL": "retrain@localhost"}
_IDENTITY |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in _IDENTITY.items()}
# The job's own repository ignores the user's signing keys and hooks, the owner of a mounted folder, and what the user never
# keeps in git (~/.config/git). By default git syncs the name of a commit to disk, but not its content.
_OWN_SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
_OWN_SETTINGS |= {"GIT_CONFIG_COUNT": "4", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
_OWN_SETTINGS |= {"GIT_CONFIG_KEY_1": "core.excludesFile", "GIT_CONFIG_VALUE_1": os.devnull}
_OWN_SETTINGS |= {"GIT_CONFIG_KEY_2": "core.attributesFile", "GIT_CONFIG_VALUE_2": os.devnull}
_OWN_SETTINGS |= {"GIT_CONFIG_KEY_3": "core.fsync", "GIT_CONFIG_VALUE_3": "all"}


class WorkspaceError(RuntimeError):
    """git or DVC failed; the message holds the end of what it said."""


class Workspace:
    """The repository in `folder`, created if there is none.

    Args:
        remote: where DVC pushes: a folder, or an address that DVC knows.
        environment: what the stages get beside this process's.

    Raises:
        WorkspaceError: DVC can't work with these places, or with the user's git settings.
    """

    def __init__(self, folder: Path, remote: str, environment: Mapping[str, str]) -> None:
        self.folder = folder.resolve()
        self._remote = remote if "://" in remote else str(Path(remote).resolve())
        for variable, place in zip(_NOT_FOR_DVC, (str(self.folder), self._remote), strict=True):
            found = _NOT_FOR_DVC[variable].search(place)
            if found:
                raise WorkspaceError(
                    f"{variable}={place!r}: it contains {found[0]!r}, with which DVC cannot work. Rename that folder, or "
                    f"set {variable} to another one."
                )
        bars = {} if sys.stderr.isatty() else {"TQDM_DISABLE": "1"}  # in a log they are one endless line
        self._environment = {**environment, **bars, JOB_PID: str(os.getpid())}
        self.folder.mkdir(parents=True, exist_ok=True)
        if "://" not in remote:
            Path(self._remote).mkdir(0o700, parents=True, exist_ok=True)
        self._check_settings()
        is_new = not is_begun(self.folder)
        if is_new or not (self.folder / ".git").is_dir():
            self._git("init", "--quiet", "--initial-branch=main")
        if is_new:
            self._dvc("init", "--quiet", "--force")
            (self.folder / ".gitignore").write_text(f"{_IGNORED}/unrecorded\n/{REASON_FILE}\n")

    def _check_settings(self) -> None:
        """The job's git ignores the user's and the machine's settings, but the libgit2 in DVC parses them."""
        self._git("version")  # if git is missing, that is the fault to tell
        own = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        for path in map(os.path.expanduser, ("~/.gitconfig", f"{own}/git/config", "/etc/gitconfig")):
            try:
                if os.access(path, os.R_OK):
                    self._git("config", "--includes", "--list", "--file", path)
            except WorkspaceError as error:
                raise WorkspaceError(
                    f"git's settings in {path} cannot be read, and DVC needs to ({error}). Correct the line, or move the "
                    "file away."
                ) from error

    def clean(self) -> list[str]:
        """Clean up after a killed retraining; returns sentences about it.

        Raises WorkspaceError if the record of former retrainings is damaged: a new one could not be recorded.
        """
        said = []
        index = self.folder / ".git" / "index"
        if index.is_file() and not any(index.read_bytes()):  # after a power cut; git writes a new one
            index.unlink()
        try:
            self._git("fsck", "--no-dangling", "--no-progress")
        except WorkspaceError as error:
            raise WorkspaceError(
                f"{self.folder / '.git'} is damaged, probably by a power cut ({error}). Restore it from a backup, or move it "
                "away: the next retraining then begins a new record."
            ) from error
        for lock in (self.folder / ".git").rglob("*.lock"):
            lock.unlink()
        held = self.folder / ".dvc" / "tmp" / "rwlock"  # names process ids that other processes may have by now
        if held.is_file() and held.read_text().strip() != "{}":
            held.unlink()
            said.append("Removed a lock on the workspace's files, left by a retraining that has ended.")
        if self.revision() is not None and self._git("status", "--porcelain"):
            self._git("reset", "--hard", "--quiet")
            said.append("Undid the changes of an unfinished retraining in the workspace.")
        return said

    def prepare(self, params: Path) -> None:
        """Write the remote, the recipe and the stages of this program version into the workspace."""
        config = ConfigObj(encoding="utf-8")  # as DVC reads it; `dvc remote add` fails where a folder's name isn't ASCII
        config["core"] = {"analytics": "false", "remote": "storage"}
        config[_REMOTE] = {"url": self._remote}
        with whole(self.folder / ".dvc" / "config") as file:
            config.write(file)
        shutil.copy(params, self.folder / "params.yaml")
        shutil.copy(Path(__file__).with_name("dvc.yaml"), self.folder)
        (self.folder / CODE_FILE).write_text(_code())

    def bring_back(self, out: str, file: str) -> None:
        """If this file of an output is missing, restore the output of the newest retraining, from DVC's cache or its remote.

        Raises WorkspaceError if neither has it.
        """
        if self.revision() is None or (self.folder / out / file).is_file():
            return
        try:
            self._dvc("pull", "--quiet", "--force", out)
        except WorkspaceError as error:
            raise WorkspaceError(
                f"{self.folder / out / file} is missing, and DVC cannot restore it ({error}). Bring {self.folder} or "
                f"{self._remote} back from a backup. If there is none, move {self.folder} away: the next retraining begins "
                "a new record."
            ) from error

    def keep_snapshot(self) -> None:
        self._dvc("commit", "--force", "snapshot")

    def run(self, stage: str, environment: Mapping[str, str] = MappingProxyType({})) -> float:
        """Run one stage unless nothing that it depends on has changed, or in any case with an environment of its own; its
        output goes to this process's. Returns the seconds that it took.

        Raises WorkspaceError with what the stage itself gave as the reason, if it did.
        """
        started = time.monotonic()
        reason = self.folder / REASON_FILE
        reason.unlink(missing_ok=True)
        is_forced = ["--force"] if environment else []
        try:
            self._dvc("repro", *is_forced, "--single-item", stage, environment=environment, is_shown=True)
        except WorkspaceError as error:
            said = reason.read_text() if reason.is_file() else ""
            if not said and shutil.disk_usage(self.folder).free < _FULL_BYTES:  # then there is none for the reason either
                said = f"no space is left on the disk of {self.folder}. Make room there."
            if not said:  # killed, or DVC itself failed
                said = f"{error} Its output is in the log; if that breaks off, memory was probably short."
            raise WorkspaceError(f"{stage}: {said}") from error
        return time.monotonic() - started

    def data_hash(self) -> str:
        """DVC's hash of the snapshot."""
        outs = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]["snapshot"]["outs"]
        return str(next(out["md5"] for out in outs if out["path"] == "data"))

    def commit(self, message: str) -> str:
        """Push to the remote and commit everything; returns the revision."""
        self._dvc("push", "--quiet")
        sync_everything()  # DVC does not sync the files that the commit refers to
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", message)
        return self._git("rev-parse", "HEAD")

    def revisions(self) -> list[str]:
        """The commits of all retrainings, the newest first."""
        return self._git("rev-list", "HEAD").split() if self.revision() else []

    def lock(self, revision: str, *, is_replaced: bool = True) -> str:
        """A commit's `dvc.lock`, as it is now or as it was at first."""
        return self._git(*([] if is_replaced else ["--no-replace-objects"]), "show", f"{revision}:dvc.lock")

    def remotes(self) -> set[str]:
        """The remotes to which any retraining has pushed."""
        configs = [self._git("show", f"{revision}:.dvc/config").splitlines() for revision in self.revisions()]
        return {self._remote, *(str(ConfigObj(config)[_REMOTE]["url"]) for config in configs)}

    def replace_lock(self, revision: str, lock: str) -> None:
        """Make git show another `dvc.lock` in a commit, which keeps its name."""
        with tempfile.TemporaryDirectory() as scratch:
            content, index = Path(scratch, "content"), {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
            content.write_text(lock)
            blob = self._git("hash-object", "-w", str(content))
            self._run(["git", "read-tree", revision], index, is_shown=False)
            self._run(["git", "update-index", "--cacheinfo", f"100644,{blob},dvc.lock"], index, is_shown=False)
            tree = self._run(["git", "write-tree"], index, is_shown=False)
            former = self._git("cat-file", "commit", revision)
            content.write_text(re.sub(r"\Atree \w+", f"tree {tree}", former) + "\n")
            self._git("replace", "--force", revision, self._git("hash-object", "-t", "commit", "-w", str(content)))
        self._git("reset", "--hard", "--quiet")

    def revision(self) -> str | None:
        """The newest commit, None before the first."""
        try:
            return self._git("rev-parse", "--verify", "--quiet", "HEAD")
        except WorkspaceError:
            return None

    def _git(self, *arguments: str) -> str:
        return self._run(["git", *arguments], {}, is_shown=False)

    def _dvc(self, *arguments: str, environment: Mapping[str, str] = MappingProxyType({}), is_shown: bool = False) -> str:
        return self._run([sys.executable, "-m", "dvc", *arguments], environment, is_shown=is_shown)

    def _run(self, command: list[str], environment: Mapping[str, str], *, is_shown: bool) -> str:
        search_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        paths = {
            "PATH": search_path,
            "DVC_NO_ANALYTICS": "1",
            "GIT_DIR": str(self.folder / ".git"),
            **_dvc_places(self.folder),
            **self._environment,
        }
        # If a hook of the user's repository started the job, git's variables name that repository. git also looks for one in
        # the folders above, if the workspace's own is missing or damaged.
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        if not shutil.which(command[0], path=search_path):
            raise WorkspaceError(f"{command[0]} was not found, which the retrain job needs for its records. Install it.")
        finished = subprocess.run(
            command,
            cwd=self.folder,
            env={**surroundings, **_IDENTITY, **_OWN_SETTINGS, **paths, **environment},
            stdout=None if is_shown else subprocess.PIPE,
            stderr=None if is_shown else subprocess.PIPE,
            text=True,
            check=False,
            close_fds=False,  # stages inherit the job's lock: it is held until the last of them has ended
        )
        if finished.returncode != 0:
            said = (finished.stderr or "").strip().splitlines()[-5:]
            raise WorkspaceError(f"{' '.join(command)} failed with status {finished.returncode}. {' '.join(said)}".strip())
        return (finished.stdout or "").strip()


def check_is_own(folder: Path) -> None:
    """Raise ValueError if the folder holds anything but a workspace: the job would overwrite files there, and undo changes."""
    ignored = folder / ".gitignore"
    if not folder.is_dir() or (ignored.is_file() and ignored.read_bytes().startswith(_IGNORED.encode())):
        return
    others = sorted({path.name for path in folder.iterdir()} - _BEFORE_IT)
    if others:
        raise ValueError(
            f"CRACK_RETRAIN_WORKSPACE={str(folder)!r} holds {others[0]!r}, which the retrain job has not made: expected its "
            "own workspace, or an empty folder. Set CRACK_RETRAIN_WORKSPACE to one."
        )


def is_begun(folder: Path) -> bool:
    """Whether there is a workspace in the folder."""
    return (folder / ".dvc" / "config").is_file()


def _code() -> str:
    """A line for each file, and for PyTorch's version."""
    paths = sorted(path for package in _PACKAGES for path in (_ROOT / package).rglob("*.py"))
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(_ROOT)}\n" for path in paths)
    return f"torch {metadata.version('torch')}\n{''.join(lines)}"


def _dvc_places(folder: Path) -> dict[str, str]:
    """Keep DVC's caches, locks and settings in the workspace: those of the user or the system may be read-only, or differ."""
    places = {"DVC_SITE_CACHE_DIR": "site", "DVC_GLOBAL_CONFIG_DIR": "none", "DVC_SYSTEM_CONFIG_DIR": "none"}
    return {name: str(folder / ".dvc" / "tmp" / place) for name, place in places.items()}
