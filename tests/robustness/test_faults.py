"""Real studies are killed, their disk is filled, their files are damaged: nothing is lost.

In brief ``conure run`` on a few tables. In full (``make robustness``) ``conure study`` of the
profile smoke with smaller settings, out of a copy of the checkout that has three notebooks. SIGKILL
hits it at random moments of every phase: everything at once, the study alone, a worker, or a
notebook's kernel. Then a start that is left alone must end well, and *every* file below artifacts/,
results/ and figures/ must be, byte for byte, that of an undisturbed study.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from robustness.judge import IN_FULL
from small_service import write_service

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = ("00_data", "01_forgetting", "02_overparameterization")
STUDY = ("study", "--dataset", "synthetic", "--profile", "smoke", "--workers", "2")
PUBLISH = ("publish", "--dataset", "synthetic", "--profile", "smoke")
STAGES, LOCAL = "artifacts/stages", "results/local/smoke/synthetic"
EVIDENCE = "results/smoke/synthetic"
PATIENCE = 900  # seconds for one start; a busy machine is slow
NO_ROOM, ROOM = (0.2, 1.0, 3.0), 300  # MiB of the small disk, start after start, and at last
MAX_LATE = 20
PHASES = {
    **{"start": ("artifacts", 0.5), "data": ("artifacts/streams", 0.05), "training": (STAGES, 0.5)},
    **{"tables": (LOCAL, 0.05), "notebooks": (f"{LOCAL}/notebooks", 3.0)},
    "publishing": (EVIDENCE, 3.0),
}
"""Phase -> the folder in which something new shows that it has begun; how long to wait then (s)."""
WORDS = {"worker": "spawn_main", "kernel": "ipykernel_launcher"}  # in a process's command line
KILLS = (
    *[("start", "study"), ("data", "group"), ("data", "study")],
    *[("training", victim) for victim in ("group", "worker", "study", "group", "worker") * 3],
    *[("tables", victim) for victim in ("study", "group")] * 2,
    *[("notebooks", victim) for victim in ("group", "kernel", "study", "kernel") * 2],
)
in_full = pytest.mark.skipif(not IN_FULL, reason="takes long: make robustness")
pytestmark = pytest.mark.slow


def write_checkout(folder: Path) -> Path:
    """Copy what a study needs, make its settings small, and commit it."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "conure_lib", folder / "conure_lib", ignore=ignored)
    shutil.copytree(REPOSITORY / "results" / "paper", folder / "results" / "paper")
    (folder / "notebooks").mkdir()
    for name in NOTEBOOKS:
        shutil.copy(REPOSITORY / "notebooks" / f"{name}.ipynb", folder / "notebooks")
    file = folder / "conure_lib" / "study" / "settings" / "smoke.json"
    base = (content := json.loads(file.read_text()))["base"]
    base["data"]["options"] |= {"n_users": 150}
    base["train"] = {task: {**one, "epochs": 2} for task, one in base["train"].items()}
    file.write_text(json.dumps(content))
    git = ["git", "-C", str(folder), "-c", "user.name=conure", "-c", "user.email=c@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "a checkout"]):
        subprocess.run([*git, *command], check=True)
    return folder


@dataclass
class Place:
    """A folder (CONURE_ROOT) and the starts of ``conure`` in it, out of a checkout."""

    root: Path
    checkout: Path
    command: tuple[str, ...] = STUDY

    def begin(self, *command: str) -> subprocess.Popen:
        """Start ``conure`` in a process group of its own; what it prints goes to a file."""
        environment = os.environ | {"CONURE_ROOT": str(self.root), "PYTHONPATH": str(self.checkout)}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "JUPYTER_PLATFORM_DIRS": "1"}
        environment |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        argv = [sys.executable, "-m", "conure_lib.cli", *(command or self.command)]
        options = {"env": environment, "cwd": self.checkout, "start_new_session": True}
        said = tempfile.TemporaryFile("w+", dir=self.root.parent)  # noqa: SIM115  (``end`` closes it)
        process = subprocess.Popen(argv, stdout=said, stderr=said, **options)
        process.said = said
        return process

    def end(self, process: subprocess.Popen) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was printed."""
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = f"none within {PATIENCE} s"
        with process.said as said:
            said.seek(0)
            return code, said.read()

    def run(self, *command: str) -> str:
        """Start once more, which must end well; return what was printed."""
        code, said = self.end(self.begin(*command))
        assert code == 0, said[-3000:]
        return said

    def fail(self, *words: str, command: tuple[str, ...] = ()) -> None:
        """Start, which must end with exit code 1 or 2 and a line that has all the words."""
        code, said = self.end(self.begin(*command))
        lines = [line.partition("conure: ")[2] for line in said.splitlines()]
        assert code in (1, 2), said[-3000:]
        assert any(all(word in line for word in words) for line in lines), said[-3000:]
        assert "Traceback" not in said

    def entries(self, folder: str) -> set[str]:
        """Return what lies in a folder, temporary names too."""
        with contextlib.suppress(OSError):
            return {entry.name for entry in os.scandir(self.root / folder)} - {".locks"}
        return set()

    def finished(self) -> dict[str, int]:
        """Return the finished stages and when each was written."""
        files = {name: self.root / STAGES / name / "record.json" for name in self.entries(STAGES)}
        return {name: f.stat().st_mtime_ns for name, f in files.items() if not name.startswith(".")}

    def beside(self, name: str, *parts: str) -> "Place":
        """Return a new place with parts of this one."""
        place = Place(self.root.with_name(name), self.checkout, self.command)
        for part in parts:
            shutil.copytree(self.root / part, place.root / part)
        return place

    def digests(self) -> dict[str, str]:
        """Return the digest of each file by path; of what holds times, of its other content."""
        found = {}
        for part in ("artifacts", "results", "figures"):
            for path in (p for p in (self.root / part).rglob("*") if p.is_file()):
                content = path.read_bytes()
                if path.name in ("environment.json", "metrics.json"):
                    about = json.loads(content)
                    content = json.dumps(about.get("digests", about.get("tasks"))).encode()
                if ".locks" not in path.parts:
                    found[str(path.relative_to(self.root))] = hashlib.sha256(content).hexdigest()
        assert len(found) > 10
        return found


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> Place:
    """What is undisturbed."""
    folder = tmp_path_factory.mktemp("faults")
    if IN_FULL:
        place = Place(folder / "undisturbed", write_checkout(folder / "checkout"))
    else:
        plan = write_service(folder / "tables") / "plan.yaml"
        place = Place(folder / "undisturbed", REPOSITORY, ("run", "--tasks", str(plan)))
    place.run()
    return place


@pytest.fixture
def chance() -> random.Random:
    return random.Random(1)


def kill(place: Place, phase: str, victim: str, chance: random.Random) -> bool:
    """Start and kill at a random moment of a phase; return False if that was too late."""
    (folder, most), before = PHASES[phase], place.finished()
    seen, more = place.entries(folder), chance.randint(1, 3) if phase == "training" else 1
    process = place.begin(*(PUBLISH if phase == "publishing" else ()))
    family, hit = [], []
    while process.poll() is None and len(place.entries(folder) - seen) < more:
        time.sleep(0.002)
    time.sleep(chance.uniform(0, most))
    with contextlib.suppress(psutil.Error, ProcessLookupError):  # it was quicker
        while process.poll() is None and not hit:
            family = psutil.Process(process.pid).children(recursive=True)
            word = WORDS.get(victim)
            hit = [p.pid for p in family if word in str(p.cmdline())] if word else [process.pid]
        if hit and process.poll() is None:
            (os.killpg if victim == "group" else os.kill)(chance.choice(hit), signal.SIGKILL)
    code, said = place.end(process)
    allowed = {"worker": (0,), "kernel": (0, 1)}.get(victim, (0, -signal.SIGKILL))  # Dask goes on
    assert code in allowed, said[-3000:]
    assert "Traceback" not in said
    assert psutil.wait_procs(family, timeout=60)[1] == [], "processes are left behind"
    assert before.items() <= place.finished().items(), "what was finished is computed again"
    return bool(hit) and (code != 0 or victim == "worker")


def test_killed_at_any_moment_it_continues_and_every_file_is_the_undisturbed_studys(wanted, chance):
    place, late = wanted.beside("killed"), 0
    for phase, victim in KILLS if IN_FULL else [("training", "group")]:
        while not kill(place, phase, victim, chance):  # too late: all is there
            place.run()
            assert place.digests() == wanted.digests()
            late += 1
            assert late <= MAX_LATE, phase
            parts = ["artifacts"] if phase in ("tables", "notebooks") else []
            place = wanted.beside(f"killed-{late}", *parts)
    place.run()
    assert place.digests() == wanted.digests()


def cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def flip(path: Path, chance: random.Random) -> None:
    if content := bytearray(path.read_bytes()):  # it may be cut to nothing already
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def test_damaged_files_of_stages_and_streams_are_named_and_computed_again(wanted, chance):
    place = wanted.beside("damaged", "artifacts")
    models = sorted(path.parent for path in (place.root / STAGES).glob("*/model.json"))
    names = ("model.safetensors", "record.json", "ranks.parquet", "environment.json", "model.json")
    chosen = [(chance.choice(models) / name, damage) for name in names for damage in (cut, flip)]
    chosen += [(path, flip) for path in place.root.glob("artifacts/streams/*/stream.safetensors")]
    for path, damage in chosen:
        damage(path, chance)
    said = place.run()
    assert [path for path, _ in chosen if str(path.parent) not in said] == []
    assert place.digests() == wanted.digests()


@contextlib.contextmanager
def small_disk(folder: Path, mib: float) -> Iterator[Callable[[str], None]]:
    """Mount a tmpfs over a folder; what is given mounts it again with other options."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(folder)], capture_output=True, check=True)

    try:
        mount("-t", "tmpfs", "-o", f"size={int(mib * 1024)}k", "tmpfs")
    except (FileNotFoundError, subprocess.CalledProcessError) as reason:
        pytest.skip(f"no disk can be mounted: {reason}")
    try:
        yield lambda options: mount("-o", f"remount,{options}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@in_full
def test_a_disk_that_is_full_or_read_only_is_said_in_a_line_and_what_is_there_stays(wanted):
    place = wanted.beside("full")
    with small_disk(place.root, NO_ROOM[0]) as remount:
        for mib in NO_ROOM:
            remount(f"size={int(mib * 1024)}k")
            place.fail("cannot be written", "No space left")
        before = place.finished()
        remount("ro")
        place.fail(str(place.root))
        remount(f"rw,size={ROOM}m")
        place.run()
        assert before.items() <= place.finished().items()
        assert place.digests() == wanted.digests()


@in_full
def test_two_at_once_both_end_well_and_no_file_is_torn(wanted, chance):
    place = wanted.beside("two")
    first = place.begin()
    time.sleep(chance.uniform(0, 2))
    ends = [place.end(process) for process in (place.begin(), first)]
    assert [code for code, _ in ends] == [0, 0], ends
    assert place.digests() == wanted.digests()


@in_full
def test_a_killed_publication_can_be_repeated_and_damaged_evidence_is_named(wanted, chance):
    place, other = (wanted.beside(name, "artifacts", "results", "figures") for name in "ab")
    kill(place, "publishing", "group", chance)
    for one in (place, other):
        one.run(*PUBLISH)
    assert place.digests() == other.digests()
    flip(file := place.root / EVIDENCE / "seed-1.parquet", chance)
    place.fail(str(file), "git checkout", command=(*STUDY, "--results", "committed"))
