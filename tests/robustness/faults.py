"""``make robustness``, second half: kills real studies, fills their disk, damages their files.

    PYTHONPATH=tests python -m robustness.faults [--short] [--seed N] [--out FILE]

A study here is ``conure study`` of the profile smoke with smaller settings, out of a copy of the
checkout that has two notebooks. SIGKILL hits it at random moments of every phase: everything at
once, the study alone, a worker, or a notebook's kernel. Then a start that is left alone must end
well, and *every* file below artifacts/, results/ and figures/ must be, byte for byte, that of an
undisturbed study; of environment.json, which holds times, the digests of the files beside it.
"""

import argparse
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
OUT = Path("artifacts/robustness/faults.json")
IGNORED = shutil.ignore_patterns("__pycache__")
NOTEBOOKS = ("00_data", "01_forgetting", "02_overparameterization")
STUDY = ("study", "--dataset", "synthetic", "--profile", "smoke", "--workers", "2")
PUBLISH = ("publish", "--dataset", "synthetic", "--profile", "smoke")
PATIENCE = 900  # seconds for one start; a busy machine is slow
NO_ROOM, ROOM = (0.2, 1.0, 3.0), 300  # MiB of the small disk, start after start, and at last
STAGES, LOCAL = "artifacts/stages", "results/local/smoke/synthetic"
WORD_OF = {"worker": "spawn_main", "kernel": "ipykernel_launcher"}  # in a command line
PHASES = {"start": "artifacts", "data": "artifacts/streams", "training": STAGES}
PHASES |= {"tables": LOCAL, "notebooks": f"{LOCAL}/notebooks"}
"""Phase -> the folder in which something new shows that it has begun."""
KILLS = (
    *[("start", "study"), ("data", "group"), ("data", "study")],
    *[("training", victim) for victim in ("group", "worker", "study", "group", "worker") * 3],
    *[("tables", victim) for victim in ("study", "group")] * 2,
    *[("notebooks", victim) for victim in ("group", "kernel", "study", "kernel") * 2],
)
SHORT_KILLS = (("training", "group"),)
SEED, MAX_LATE = 1, 20


class NotPossibleError(Exception):
    """A scenario that this machine does not allow."""


def check(holds: bool, promise: str, found: object = "") -> None:
    """Raise Fault that says which promise was not kept, and what was found."""
    if not holds:
        raise Fault(f"{promise}; found: {str(found)[-3000:]}")


def write_checkout(folder: Path) -> Path:
    """Copy what a study needs, make its settings small, and commit it."""
    shutil.copytree(REPOSITORY / "conure_lib", folder / "conure_lib", ignore=IGNORED)
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
    """A folder (CONURE_ROOT) and the starts of ``conure`` in it."""

    root: Path
    checkout: Path
    command: tuple[str, ...] = STUDY

    @property
    def said(self) -> Path:
        """The file of what the last start printed."""
        return self.root.with_name(f"{self.root.name}.said")

    def begin(self, *command: str) -> subprocess.Popen:
        """Start ``conure`` in a process group of its own."""
        environment = os.environ | {"CONURE_ROOT": str(self.root), "OMP_NUM_THREADS": "1"}
        environment |= {"PYTHONPATH": str(self.checkout), "PYTHONHASHSEED": "0"}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "JUPYTER_PLATFORM_DIRS": "1"}
        argv = [sys.executable, "-m", "conure_lib.cli", *(command or self.command)]
        with self.said.open("w") as said:
            streams = {"stdout": said, "stderr": said, "cwd": self.checkout}
            return subprocess.Popen(argv, env=environment, start_new_session=True, **streams)

    def end(self, process: subprocess.Popen) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was printed."""
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Fault(f"no end within {PATIENCE} s: {self.said.read_text()[-2000:]}") from None
        return code, self.said.read_text()

    def run(self, *command: str) -> tuple[int, str]:
        """Start and wait."""
        return self.end(self.begin(*command))

    def complete(self) -> str:
        """Start once more, which must end well; return what was printed."""
        code, said = self.run()
        check(code == 0, "one more start finishes the study", f"exit {code}: {said}")
        return said

    def refused(self, *words: str, code: int = 1, command: tuple[str, ...] = ()) -> None:
        """Start, which must end in one line that has all the words."""
        found, said = self.run(*command)
        lines = [line.partition("conure: ")[2] for line in said.splitlines()]
        named = any(all(word in line for word in words) for line in lines)
        is_clear = found == code and named and "Traceback" not in said
        check(is_clear, f"exit code {code} and one line with {words}", f"exit {found}: {said}")

    def entries(self, folder: str) -> set[str]:
        """Return what lies in a folder, temporary names too."""
        with contextlib.suppress(OSError):
            return {entry.name for entry in os.scandir(self.root / folder)} - {".locks"}
        return set()

    def finished(self) -> dict[str, int]:
        """Return the finished stages and when each was written."""
        names = (name for name in self.entries(STAGES) if not name.startswith("."))
        return {
            name: (self.root / STAGES / name / "record.json").stat().st_mtime_ns for name in names
        }

    def copy_of(self, other: "Place", *parts: str) -> "Place":
        """Take parts of another place."""
        for part in parts:
            shutil.copytree(other.root / part, self.root / part, dirs_exist_ok=True)
        return self


def digests(place: Place, *parts: str) -> dict[str, str]:
    """Return the digest of each file by path; of environment.json that of its digests."""
    found = {}
    for path in (p for part in parts for p in sorted((place.root / part).rglob("*"))):
        if path.is_file() and ".locks" not in path.parts:
            content = path.read_bytes()
            if path.name in ("environment.json", "metrics.json"):  # hold times
                facts = json.loads(content)
                content = json.dumps(facts.get("digests", facts.get("tasks"))).encode()
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
    """Start the study and kill at a random moment of a phase; return False if that was too late."""
    before, seen, more = place.finished(), place.entries(PHASES[phase]), chance.randint(1, 3)
    wait = chance.uniform(0, {"notebooks": 3, "data": 0.05, "tables": 0.05}.get(phase, 0.5))
    process = place.begin()
    family, hit = [], []
    try:
        while process.poll() is None and len(place.entries(PHASES[phase]) - seen) < more:
            time.sleep(0.002)
            more = more if phase == "training" else 1
        time.sleep(wait)
        while process.poll() is None and not hit:
            family = psutil.Process(process.pid).children(recursive=True)
            hit = [process.pid] if victim in ("group", "study") else _with(family, WORD_OF[victim])
        if hit and process.poll() is None:
            target = chance.choice(hit)
            os.killpg(target, signal.SIGKILL) if victim == "group" else os.kill(
                target, signal.SIGKILL
            )
    except (psutil.Error, ProcessLookupError):
        hit = []
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    code, said = place.end(process)
    allowed = {"worker": (0,), "kernel": (0, 1)}.get(
        victim, (0, -signal.SIGKILL)
    )  # Dask tries again
    is_clear = code in allowed and "Traceback" not in said
    check(is_clear, f"a killed {victim} ends as it should", f"exit {code}: {said}")
    left = psutil.wait_procs(family, timeout=60)[1]
    check(not left, "no process is left behind", left)
    after = place.finished()
    kept = all(after.get(name) == written for name, written in before.items())
    check(kept, "what was finished before a kill is there, and not computed again", before)
    return bool(hit) and (code != 0 or victim == "worker")


def _with(family: list[psutil.Process], word: str) -> list[int]:
    """Return the processes whose command line has a word."""
    found = []
    for process in family:
        with contextlib.suppress(psutil.Error):
            found += [process.pid] if any(word in one for one in process.cmdline()) else []
    return found


def survive_kills(place: Place, wanted: Place, kills: tuple, chance: random.Random) -> dict:
    """Kill at each moment in one folder after the other, then start once more and compare."""
    hits, late, compared, first = Counter(), 0, 0, place.root
    with tqdm(total=len(kills), desc="kills") as bar:
        for phase, victim in kills:
            bar.set_postfix_str(f"{phase}, {victim}")
            while not kill(place, phase, victim, chance):  # too late: all is there
                place.complete()
                compared, late = compared + compare(place, wanted), late + 1
                check(late <= MAX_LATE, "kills come in time", f"{late} too late, last {phase}")
                place = Place(
                    first.with_name(f"{first.name}-{late}"), place.checkout, place.command
                )
                if phase in ("tables", "notebooks"):
                    place.copy_of(wanted, "artifacts")
            hits[f"{phase}, {victim}"] += 1
            bar.update()
    place.complete()
    return {"kills": dict(hits), "too late": late, "compared": compared + compare(place, wanted)}


@contextlib.contextmanager
def small_disk(folder: Path, mib: float) -> Iterator[Callable[[str], None]]:
    """Mount a tmpfs over a folder; what is given mounts it again with other options."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(*options: str) -> None:
        command = ["mount", *options, str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise NotPossibleError("there is no command mount") from error
        if done.returncode:
            raise NotPossibleError(f"mount: {done.stderr.strip()}")

    mount("-t", "tmpfs", "-o", f"size={int(mib * 1024)}k", "tmpfs")
    try:
        yield lambda options: mount("-o", f"remount,{options}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disk(place: Place, wanted: Place, chance: random.Random) -> int:
    """A disk that is full sooner or later is said in one line each time; what is there is kept."""
    with small_disk(place.root, NO_ROOM[0]) as remount:
        for mib in NO_ROOM:
            remount(f"size={int(mib * 1024)}k")
            place.refused("MiB free" if place.command[0] == "run" else "cannot be written")
        remount(f"size={ROOM}m")
        place.complete()
        return compare(place, wanted, STAGES)


def read_only_folder(place: Place, wanted: Place, chance: random.Random) -> int:
    """A folder that can only be read is named in one line; what was computed is used later."""
    place.copy_of(wanted, STAGES)
    written = "artifacts/models" if place.command[0] == "run" else "results"
    with small_disk(place.root / written, ROOM) as remount:
        remount("ro")
        before = place.finished()
        code, said = place.run()
        check(code in (1, 2) and str(place.root / written) in said, "it is named", said)
        check("Traceback" not in said, "no traceback", said)
        remount("rw")
        place.complete()
        check(place.finished() == before, "nothing is computed again", before)
        return compare(place, wanted, STAGES, written)


def damaged_cache(place: Place, wanted: Place, chance: random.Random) -> int:
    """Files of stages and streams, cut or with a flipped bit, are named and computed again."""
    place.copy_of(wanted, "artifacts")
    models = sorted(path.parent for path in (place.root / STAGES).glob("*/model.json"))
    names = ("model.safetensors", "record.json", "ranks.parquet", "environment.json", "model.json")
    chosen = [(chance.choice(models) / name, damage) for name in names for damage in (cut, flip)]
    chosen += [(path, flip) for path in place.root.glob("artifacts/streams/*/stream.safetensors")]
    for path, damage in chosen:
        damage(path, chance)
    said = place.complete()
    missing = [path for path, _ in chosen if str(path.parent) not in said]
    check(not missing, "each damaged folder is named", f"{missing} in {said}")
    return compare(place, wanted)


def cut(path: Path, chance: random.Random) -> None:
    """Cut a file at a random place."""
    os.truncate(path, chance.randrange(path.stat().st_size))


def flip(path: Path, chance: random.Random) -> None:
    """Flip one bit of a file, which may be cut to nothing already."""
    if content := bytearray(path.read_bytes()):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def two_at_once(place: Place, wanted: Place, chance: random.Random) -> int:
    """Two starts in one folder both end well, and no file is torn."""
    other = Place(place.root, place.checkout, place.command)
    first = place.begin()
    time.sleep(chance.uniform(0, 2))
    second = other.begin()
    ends = [place.end(process) for process in (first, second)]
    check([code for code, _ in ends] == [0, 0], "both end well", ends)
    return compare(place, wanted)


def publishing(place: Place, wanted: Place, chance: random.Random) -> int:
    """A killed publication is repeated; damaged evidence is named with how to restore it."""
    place.copy_of(wanted, "artifacts", "results", "figures")
    process = place.begin(*PUBLISH)
    while process.poll() is None and not place.entries("results/smoke/synthetic"):
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 5))
    os.killpg(process.pid, signal.SIGKILL)
    place.end(process)
    code, said = place.run(*PUBLISH)
    check(code == 0, "what was killed can be published again", said)
    other = Place(place.root.with_name("published"), place.checkout).copy_of(wanted, "artifacts")
    other.copy_of(wanted, "results", "figures")
    code, said = other.run(*PUBLISH)
    check(code == 0, "a finished study can be published", said)
    compared = compare(place, other)
    file = place.root / "results" / "smoke" / "synthetic" / "seed-1.parquet"
    flip(file, chance)
    place.refused(str(file), "git checkout", command=(*STUDY, "--results", "committed"))
    return compared


SCENARIOS = (full_disk, read_only_folder, damaged_cache, two_at_once, publishing)
SHORT_SCENARIOS = (read_only_folder, damaged_cache)


def campaign(folder: Path, is_short: bool = False, seed: int = SEED) -> dict:
    """Run everything in a folder; raise Fault at the first promise that is not kept.

    is_short: ``conure run`` on own tables in place of the study, fewer kills and scenarios.
    """
    started, chance = time.monotonic(), random.Random(seed)
    command, checkout = STUDY, REPOSITORY
    if is_short:
        plan = write_service(folder / "tables") / "plan.yaml"
        command = ("run", "--tasks", str(plan))
    else:
        checkout = write_checkout(folder / "checkout")
    wanted = Place(folder / "undisturbed", checkout, command)
    wanted.complete()
    place = Place(folder / "killed", checkout, command)
    found = survive_kills(place, wanted, SHORT_KILLS if is_short else KILLS, chance)
    for scenario in tqdm(SHORT_SCENARIOS if is_short else SCENARIOS, desc="scenarios"):
        place = Place(folder / scenario.__name__, checkout, command)
        try:
            compared = scenario(place, wanted, chance)
        except NotPossibleError as reason:
            compared = f"not possible here: {reason}"
        found[scenario.__name__.replace("_", " ")] = compared
    return found | {"seconds": round(time.monotonic() - started)}


def main() -> int:
    """Run the campaign; exit code 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a minute, of conure run")
    parser.add_argument("--seed", type=int, default=SEED, help="of the moments of the kills")
    parser.add_argument("--out", type=Path, default=OUT, help=f"unless {OUT}")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        try:
            found = campaign(Path(folder), given.short, given.seed)
        except Fault as fault:
            print(f"faults: {fault}", file=sys.stderr)
            return 1
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
