"""``make robustness``, second half: kills real studies, fills their disk, damages their files.

A study here is ``conure study`` of the profile smoke with smaller settings, out of a copy of the
checkout that has three notebooks. SIGKILL hits it at random moments of every phase: everything at
once, the study alone, a worker, or a notebook's kernel. Then a start that is left alone must end
well, and *every* file below artifacts/, results/ and figures/ must be, byte for byte, that of an
undisturbed study; of what holds times, the digests of the files beside it.
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
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from small_service import write_service
from tqdm.auto import tqdm

from .judge import Fault

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
SHORT_KILLS = (("training", "group"),)


def check(holds: bool, promise: str, found: object = "") -> None:
    if not holds:
        raise Fault(f"{promise}; found: {str(found)[-3000:]}")


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
        check(code == 0, "one more start ends well", f"exit code {code}: {said}")
        return said

    def fail(self, *words: str, command: tuple[str, ...] = ()) -> None:
        """Start, which must end with exit code 1 or 2 and a line that has all the words."""
        code, said = self.end(self.begin(*command))
        lines = [line.partition("conure: ")[2] for line in said.splitlines()]
        named = any(all(word in line for word in words) for line in lines)
        is_clear = code in (1, 2) and named and "Traceback" not in said
        check(is_clear, f"a failure is said in a line with {words}", f"exit code {code}: {said}")

    def entries(self, folder: str) -> set[str]:
        """Return what lies in a folder, temporary names too."""
        with contextlib.suppress(OSError):
            return {entry.name for entry in os.scandir(self.root / folder)} - {".locks"}
        return set()

    def finished(self) -> dict[str, int]:
        """Return the finished stages and when each was written."""
        files = {name: self.root / STAGES / name / "record.json" for name in self.entries(STAGES)}
        return {name: f.stat().st_mtime_ns for name, f in files.items() if not name.startswith(".")}

    def beside(self, name: str, other: "Place | None" = None, *parts: str) -> "Place":
        """Return a new place with parts of another one."""
        place = Place(self.root.with_name(name), self.checkout, self.command)
        for part in parts:
            shutil.copytree(other.root / part, place.root / part)
        return place


def digests(place: Place, *parts: str) -> dict[str, str]:
    """Return the digest of each file by path; of what holds times, that of its other content."""
    found = {}
    for path in (p for part in parts for p in (place.root / part).rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.name in ("environment.json", "metrics.json"):
            about = json.loads(content)
            content = json.dumps(about.get("digests", about.get("tasks"))).encode()
        if ".locks" not in path.parts:
            found[str(path.relative_to(place.root))] = hashlib.sha256(content).hexdigest()
    return found


def compare(place: Place, wanted: Place, *parts: str) -> int:
    """Return how many files are equal; raise Fault if one differs, is lost or is too many."""
    parts = parts or ("artifacts", "results", "figures")
    ours, theirs = digests(place, *parts), digests(wanted, *parts)
    differ = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    check(not differ, "every file is the undisturbed study's, byte for byte, and no other", differ)
    return len(theirs)


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
    is_clear = code in allowed and "Traceback" not in said
    check(is_clear, f"a killed {victim} ends as it should", f"exit code {code}: {said}")
    left = psutil.wait_procs(family, timeout=60)[1]
    check(not left, "no process is left behind", left)
    kept = before.items() <= place.finished().items()
    check(kept, "what was finished before a kill is there, and not computed again", before)
    return bool(hit) and (code != 0 or victim == "worker")


def survive_kills(place: Place, wanted: Place, kills: tuple, chance: random.Random) -> dict:
    """Kill at each moment in one folder after the other, then start once more and compare."""
    hits, late, compared = Counter(), 0, 0
    for phase, victim in tqdm(kills, desc="kills"):
        while not kill(place, phase, victim, chance):  # too late: all is there
            place.run()
            compared, late = compared + compare(place, wanted), late + 1
            check(late <= MAX_LATE, "kills come in time", f"{late} too late, last in {phase}")
            parts = ["artifacts"] if phase in ("tables", "notebooks") else []
            place = place.beside(f"killed-{late}", wanted, *parts)
        hits[f"{phase}, {victim}"] += 1
    place.run()
    return {"kills": dict(hits), "too late": late, "compared": compared + compare(place, wanted)}


@contextlib.contextmanager
def small_disk(folder: Path, mib: float) -> Iterator[Callable[[str], None]]:
    """Mount a tmpfs over a folder; what is given mounts it again with other options."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(folder)], capture_output=True, check=True)

    mount("-t", "tmpfs", "-o", f"size={int(mib * 1024)}k", "tmpfs")
    try:
        yield lambda options: mount("-o", f"remount,{options}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disk(wanted: Place, chance: random.Random) -> int:
    """A disk that is full sooner or later, or read-only, is said in a line; what is there stays."""
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
        kept = before.items() <= place.finished().items()
        check(kept, "nothing is computed again", before)
        return compare(place, wanted)


def damaged_cache(wanted: Place, chance: random.Random) -> int:
    """Files of stages and streams, cut or with a flipped bit, are named and computed again."""
    place = wanted.beside("damaged", wanted, "artifacts")
    models = sorted(path.parent for path in (place.root / STAGES).glob("*/model.json"))
    names = ("model.safetensors", "record.json", "ranks.parquet", "environment.json", "model.json")
    chosen = [(chance.choice(models) / name, damage) for name in names for damage in (cut, flip)]
    chosen += [(path, flip) for path in place.root.glob("artifacts/streams/*/stream.safetensors")]
    for path, damage in chosen:
        damage(path, chance)
    said = place.run()
    missing = [path for path, _ in chosen if str(path.parent) not in said]
    check(not missing, "each damaged folder is named", f"{missing} in {said}")
    return compare(place, wanted)


def cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def flip(path: Path, chance: random.Random) -> None:
    if content := bytearray(path.read_bytes()):  # it may be cut to nothing already
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def two_at_once(wanted: Place, chance: random.Random) -> int:
    """Two starts in one folder both end well, and no file is torn."""
    place = wanted.beside("two")
    first = place.begin()
    time.sleep(chance.uniform(0, 2))
    ends = [place.end(process) for process in (place.begin(), first)]
    check([code for code, _ in ends] == [0, 0], "both end well", ends)
    return compare(place, wanted)


def publishing(wanted: Place, chance: random.Random) -> int:
    """A killed publication can be repeated; damaged evidence is named with how to restore it."""
    place, other = (wanted.beside(n, wanted, "artifacts", "results", "figures") for n in "ab")
    kill(place, "publishing", "group", chance)
    for one in (place, other):
        one.run(*PUBLISH)
    compared = compare(place, other)
    flip(file := place.root / EVIDENCE / "seed-1.parquet", chance)
    place.fail(str(file), "git checkout", command=(*STUDY, "--results", "committed"))
    return compared


SCENARIOS = (full_disk, damaged_cache, two_at_once, publishing)
SHORT_SCENARIOS = (damaged_cache,)


def campaign(folder: Path, is_short: bool = False, seed: int = 1) -> dict:
    """Run everything in a folder; raise Fault at the first promise that is not kept.

    is_short: ``conure run`` on own tables in place of the study, fewer kills and scenarios.
    """
    chance = random.Random(seed)
    if is_short:
        plan = write_service(folder / "tables") / "plan.yaml"
        wanted = Place(folder / "undisturbed", REPOSITORY, ("run", "--tasks", str(plan)))
    else:
        wanted = Place(folder / "undisturbed", write_checkout(folder / "checkout"))
    wanted.run()
    kills = SHORT_KILLS if is_short else KILLS
    found = survive_kills(wanted.beside("killed"), wanted, kills, chance)
    for scenario in tqdm(SHORT_SCENARIOS if is_short else SCENARIOS, desc="scenarios"):
        try:
            compared = scenario(wanted, chance)
        except (FileNotFoundError, subprocess.CalledProcessError) as reason:  # no right to mount
            compared = f"not possible here: {reason}"
        found[scenario.__name__.replace("_", " ")] = compared
    return found
