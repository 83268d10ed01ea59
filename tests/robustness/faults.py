"""Kills real studies at random moments, fills their disk, damages their files, and compares what comes out.

``make faults`` runs the whole campaign and writes results/campaigns/faults.json; ``tests/test_faults.py`` runs a
short form of it, which writes nothing.

A study here is ``conure study`` with two workers (``study.py``: baselines, over-parameterisation and one more
world of tiny synthetic data, two real notebooks; its records are published), in a folder of its own. The kills go
to one folder, one after the other, each by SIGKILL, at moments drawn from a fixed seed: to everything at once, to
the study alone, to a worker, or to a notebook's kernel. Then one start is left alone. Where a study was faster
than its kill, that is tried again in a new folder.

What is compared: *every* file below the folder, byte for byte, with the files of an undisturbed study: prepared
streams, checkpoints, records, ranks, published records, tables, executed notebooks (the library itself takes times
and progress out of them), figures and their data. A file more or less, also one left over by a dead process, is a
difference. Not compared is the content of environment.json, which holds times by design: it must be JSON and hold
the same commit and the digest of the record beside it. Where a scenario runs no notebooks, their copies and the
figures are not there to be compared.

Bytes lost: of the undisturbed study's files, those that are not there or differ in the end.
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
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

REPOSITORY = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
REPORT = REPOSITORY / "results" / "campaigns" / "faults.json"
PROFILE, DATASET = "faults", "synthetic"
NOTEBOOKS = ("01_forgetting", "02_overparameterization")
PATIENCE = 900  # seconds for one start; a busy machine is slow
ENVIRONMENT, RECORD = "environment.json", "record.json"
MOST_LATE = 20  # kills that a campaign may try again
NO_ROOM, FULL_MIB = (0.2, 1.0, 3.0), 200  # MiB of the small disk, start after start, and at last

PHASES = ("start", "data", "training", "publishing", "tables", "notebooks")
KILLS = (
    *[("start", "group"), ("data", "group"), ("data", "study")],
    *[("training", victim) for victim in ("group", "worker", "study", "group", "worker") * 3],
    *[("publishing", victim) for victim in ("group", "study") * 2],
    *[("tables", victim) for victim in ("study", "group")] * 2,
    *[("notebooks", victim) for victim in ("group", "kernel", "study", "kernel") * 2],
)
"""Of the whole campaign, in order of a study's course: when, and whom."""
SHORT_KILLS = (("training", "group"), ("training", "worker"), ("notebooks", "kernel"))


class Fault(AssertionError):
    """A promise that was not kept. Says which, and what was found."""


class NotPossible(Exception):
    """A scenario that this machine does not allow. Says why."""


def check(holds: bool, promise: str, found: object = "") -> None:
    if not holds:
        raise Fault(f"{promise}; found: {found}")


# --- one study in a folder of its own --------------------------------------------------------------------


@dataclass
class World:
    """A folder (CONURE_ROOT) and the starts of ``conure`` in it."""

    root: Path
    notebooks: tuple[str, ...] = ()
    starts: int = 0

    @property
    def log(self) -> Path:
        return self.root.with_name(f"{self.root.name}.stages")

    @property
    def said(self) -> Path:
        return self.root.with_name(f"{self.root.name}.said")

    def begin(self, *command: str) -> subprocess.Popen:
        """Starts ``conure`` in a process group of its own; what it says goes to a file."""
        command = command or ("study", "--dataset", DATASET, "--profile", PROFILE, "--workers", "2")
        self.starts += 1
        environment = os.environ | {
            "CONURE_ROOT": str(self.root),
            "PYTHONPATH": f"{HERE / 'world'}{os.pathsep}{REPOSITORY}",
            "FAULTS_LOG": str(self.log),
            "FAULTS_NOTEBOOKS": ",".join(self.notebooks),
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "JUPYTER_PLATFORM_DIRS": "1",
        }
        with self.said.open("w") as said:
            arguments = [sys.executable, str(HERE / "study.py"), *command]
            return subprocess.Popen(
                arguments, env=environment, stdout=said, stderr=said, start_new_session=True
            )

    def end(self, process: subprocess.Popen) -> tuple[int, str]:
        """Waits for the end: exit code, and what it said."""
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise Fault(
                f"no end within {PATIENCE} s; it said {self.said.read_text()[-2000:]}"
            ) from None
        return code, self.said.read_text()

    def run(self, *command: str) -> tuple[int, str]:
        return self.end(self.begin(*command))

    def completes(self) -> str:
        """One start that must end well; what it said."""
        code, said = self.run()
        check(code == 0, "one more start finishes the study", f"exit {code}: {said[-2000:]}")
        return said

    def computed(self) -> list[str]:
        """Ids of the stages whose files were written, once for each time."""
        return (
            [line.split()[0] for line in self.log.read_text().splitlines()]
            if self.log.is_file()
            else []
        )

    def finished(self) -> set[str]:
        return set(names(self.root / "artifacts" / "stages"))

    def copy_of(self, other: "World", *parts: str) -> "World":
        for part in parts:
            shutil.copytree(other.root / part, self.root / part, dirs_exist_ok=True)
        return self


def names(folder: Path) -> list[str]:
    """What lies in a folder (if there is one) under names that are not temporary."""
    with contextlib.suppress(OSError):
        return sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    return []


def hidden(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return [entry.name for entry in os.scandir(folder) if entry.name.startswith(".")]
    return []


def digests(root: Path, *parts: str) -> dict[str, tuple[str, int]]:
    """Digest and size of each file below the parts of a folder, by path; of environment.json only the facts."""
    found = {}
    for part in parts:
        for path in sorted((root / part).rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                if path.name == ENVIRONMENT:
                    content = facts(path)
                found[str(path.relative_to(root))] = (
                    hashlib.sha256(content).hexdigest(),
                    len(content),
                )
    return found


def facts(environment: Path) -> bytes:
    """What must be the same in every environment.json: the commit, and the digest of the record beside it."""
    content = json.loads(environment.read_text())
    check(
        content["record"] == hashlib.sha256((environment.parent / RECORD).read_bytes()).hexdigest(),
        "environment.json holds the digest of its record",
        environment,
    )
    return json.dumps([content["commit"], content["record"]]).encode()


def compare(world: World, wanted: World, *parts: str) -> dict[str, int]:
    """Files and bytes compared; raises Fault if a byte differs or is lost."""
    parts = parts or ("artifacts", "results", "figures")
    theirs, ours = digests(wanted.root, *parts), digests(world.root, *parts)
    lost = {
        name: size
        for name, (digest, size) in theirs.items()
        if ours.get(name, ("", 0))[0] != digest
    }
    check(not lost, "every file is the undisturbed study's, byte for byte", lost)
    check(set(ours) == set(theirs), "there is no other file", sorted(set(ours) - set(theirs)))
    compared = {"files": len(theirs), "bytes": sum(size for _, size in theirs.values())}
    return compared | {"bytes_lost": sum(lost.values())}


# --- killing ---------------------------------------------------------------------------------------------


def children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [
            int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()
        ]
    return []


def alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def of_kind(process: int, word: str) -> list[int]:
    """The children whose command line has the word."""
    found = []
    for child in children(process):
        with contextlib.suppress(OSError):
            if word in Path(f"/proc/{child}/cmdline").read_text():
                found.append(child)
    return found


def moment(
    world: World, phase: str, chance: random.Random, notebook_s: float
) -> tuple[Callable[[], bool], float]:
    """When a phase is under way (a question to ask again and again), and how long to wait from then (seconds)."""
    artifacts, results = world.root / "artifacts", world.root / "results"
    published = results / "runs" / DATASET
    if phase == "start":
        return lambda: True, chance.uniform(0, 2)
    if phase == "data":
        before = len(names(artifacts / "streams"))
        return (
            lambda: (
                bool(hidden(artifacts / "streams")) or len(names(artifacts / "streams")) > before
            ),
            (chance.uniform(0, 0.05)),
        )
    if phase == "training":
        before, more = len(world.finished()), chance.randint(1, 3)
        return lambda: len(world.finished()) >= before + more, chance.uniform(0, 0.3)
    if phase == "publishing":
        before, more = len(names(published)), chance.randint(1, 12)
        return lambda: len(names(published)) >= before + more, 0.0
    folder = results / (PROFILE if phase == "tables" else f"executed/{PROFILE}") / DATASET
    wait = chance.uniform(0, 0.05) if phase == "tables" else chance.uniform(0, notebook_s)
    return lambda: bool(hidden(folder)), wait


def kill(
    world: World, phase: str, victim: str, chance: random.Random, notebook_s: float
) -> dict | None:
    """Starts the study and kills at a random moment of the phase; None if that was too late: the study ended well.

    A kernel that has run its last cell is killed too late as well.
    """
    reached, wait = moment(world, phase, chance, notebook_s)
    before, log = world.finished(), len(world.computed())
    process = world.begin()
    try:
        while not reached() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(wait)
        victims = {"worker": "multiprocessing.spawn", "kernel": "ipykernel_launcher"}
        while (
            victim in victims
            and process.poll() is None
            and not of_kind(process.pid, victims[victim])
        ):
            time.sleep(0.002)  # e.g. between two notebooks
        family = [
            child
            for one in (process.pid, *children(process.pid))
            for child in (one, *children(one))
        ]
        if process.poll() is not None:
            code, said = world.end(process)
            check(code == 0, "a study that is left alone ends well", said[-2000:])
            return None
        if victim == "group":
            os.killpg(process.pid, signal.SIGKILL)
        elif victim == "study":
            os.kill(process.pid, signal.SIGKILL)
        else:
            os.kill(chance.choice(of_kind(process.pid, victims[victim])), signal.SIGKILL)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    code, said = world.end(process)
    if victim == "kernel" and code == 0:
        return None
    check(code != 0, f"a killed {victim} is no success", said[-2000:])
    if victim == "worker":
        check(
            code == 1 and "in hand were synthetic." in said,
            "a killed worker's stage is named",
            said[-2000:],
        )
    if victim == "kernel":
        named = [
            line
            for line in said.splitlines()
            if line.split()[:1] in [[name] for name in world.notebooks]
        ]
        check(
            code == 1 and any("died" in line for line in named),
            "a killed kernel's notebook is named",
            said,
        )
    patience = time.monotonic() + 60
    while (left := [child for child in family if alive(child)]) and time.monotonic() < patience:
        time.sleep(0.05)
    check(not left, "no process is left behind", left)
    kept = before - world.finished()
    check(not kept, "what was finished before a kill is there after it", kept)
    again = before.intersection(world.computed()[log:])
    check(not again, "nothing that was finished is computed again", again)
    return {"phase": phase, "victim": victim, "again": len(again)}


def kills(place: Path, wanted: World, plan: tuple, seed: int, notebook_s: float, bar: tqdm) -> dict:
    """Every kill of the plan, in one folder after the other, and for each folder a start that is left alone.

    A kill that comes too late leaves a whole study behind, which is compared; the kill is tried again in a new
    folder, that has what lies before its phase. Raises Fault at more than ``MOST_LATE`` of them.
    """
    chance, hits, late, total, phase = random.Random(seed), [], 0, Counter(), plan[0][0]
    world = begun(place, wanted, phase, late)
    for phase, victim in plan:
        bar.set_postfix_str(f"{phase}, {victim}")
        while not (hit := kill(world, phase, victim, chance, notebook_s)):
            total.update(closed(world, wanted))
            late += 1
            check(
                late <= MOST_LATE,
                "kills come in time",
                f"{late} were too late, the last one in {phase}",
            )
            world = begun(place, wanted, phase, late)
        hits.append(hit)
        bar.update()
    world.completes()
    total.update(closed(world, wanted))
    return {
        "kills": len(hits),
        "too_late": late,
        "by_phase": {
            phase: n for phase in PHASES if (n := sum(hit["phase"] == phase for hit in hits))
        },
        "by_victim": dict(sorted(Counter(hit["victim"] for hit in hits).items())),
        "studies": late + 1,
        "computed_again_finished": sum(hit["again"] for hit in hits),
        **total,
    }


def begun(place: Path, wanted: World, phase: str, number: int) -> World:
    """A new folder; for a phase after training with all stages in it, as an undisturbed study has them."""
    world = World(place / f"killed-{number}", wanted.notebooks)
    return world if phase in ("start", "data", "training") else world.copy_of(wanted, "artifacts")


def closed(world: World, wanted: World) -> dict[str, int]:
    """What a study that was killed, and is whole now, did and lost; raises Fault if a byte differs."""
    count = Counter(world.computed())
    return {
        "stages": len(count),
        "computed_again_in_hand": sum(count.values()) - len(count),
        **compare(world, wanted),
    }


# --- everything else that can go wrong -------------------------------------------------------------------


def complaint(said: str, *words: str) -> bool:
    """Whether one line of ``conure``'s own has all the words, and no traceback was shown."""
    lines = [line.partition("conure: ")[2] for line in said.splitlines()]
    return "Traceback" not in said and any(all(word in line for word in words) for line in lines)


@contextlib.contextmanager
def small_disk(folder: Path, mib: float) -> Iterator[Callable[[str], None]]:
    """A tmpfs over a folder; what is yielded mounts it anew with other options."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(*options: str) -> None:
        done = subprocess.run(
            ["mount", *options, str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NotPossible(f"mount: {done.stderr.strip()}")

    try:
        mount("-t", "tmpfs", "-o", f"size={int(mib * 1024)}k", "tmpfs")
    except FileNotFoundError as error:
        raise NotPossible("there is no command mount") from error
    try:
        yield lambda options: mount("-o", f"remount,{options}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disk(place: Path, wanted: World, chance: random.Random, rounds: int) -> dict:
    """A disk that is full sooner or later: the study says so each time, and keeps what it has."""
    world = World(place / "full")
    with small_disk(world.root, NO_ROOM[0]) as remount:
        for mib in NO_ROOM[: rounds + 1]:
            remount(f"size={int(mib * 1024)}k")
            code, said = world.run()
            check(code == 1, "a full disk is an error", f"exit {code}: {said[-2000:]}")
            check(
                complaint(said, "cannot be written", "No space left"),
                "it is said in one line",
                said[-2000:],
            )
        remount(f"size={FULL_MIB}m")
        world.completes()
        return compare(world, wanted, *CACHES, f"results/{PROFILE}")


def read_only_results(place: Path, wanted: World, chance: random.Random, rounds: int) -> dict:
    """results/ can only be read: the study says so; what it computed is used once results/ can be written."""
    world = World(place / "read-only").copy_of(wanted, "artifacts")
    with small_disk(world.root / "results", FULL_MIB) as remount:
        remount("ro")
        code, said = world.run()
        named = complaint(said, str(world.root / "results"), "cannot be written")
        check(code == 1 and named, "a read-only folder is named in one line", said[-2000:])
        remount("rw")
        world.completes()
        check(world.computed() == [], "nothing is computed again", world.computed())
        return compare(world, wanted, *CACHES, f"results/{PROFILE}")


CACHES = ("artifacts/stages", "artifacts/streams", f"results/runs/{DATASET}")


def cut(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content) - 1)])


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(content))


def damaged_cache(place: Path, wanted: World, chance: random.Random, rounds: int) -> dict:
    """Checkpoints, records, ranks, streams and more, cut or with one bit flipped: each is named and mended."""
    world, files = World(place / "damaged").copy_of(wanted, "artifacts", "results"), 0
    kinds = [
        (name, damage)
        for damage in (cut, flip)
        for name in ("model.safetensors", RECORD, "ranks.parquet")
    ]
    kinds += [("model.json", flip), (ENVIRONMENT, cut)]
    for _ in range(rounds):
        folders = sorted(path.parent for path in (world.root / CACHES[0]).glob("*/model.json"))
        chosen = chance.sample(folders, len(kinds))
        hit = [
            (folder / name, damage) for folder, (name, damage) in zip(chosen, kinds, strict=True)
        ]
        hit.append(
            (chance.choice(sorted((world.root / CACHES[1]).glob("*/stream.safetensors"))), flip)
        )
        for path, damage in hit:
            damage(path, chance)
        published = [world.root / CACHES[2] / folder.name for folder in chosen[:2]]
        flip(published[0] / RECORD, chance)
        cut(published[1] / ENVIRONMENT, chance)
        said = world.completes()
        missing = [
            str(path) for path in (*(path for path, _ in hit), *published) if str(path) not in said
        ]
        check(not missing, "each damaged file is named", f"{missing} in {said[-3000:]}")
        files += len(hit) + len(published)
        compare(world, wanted, *CACHES, f"results/{PROFILE}")
    return {"damaged": files, **compare(world, wanted, *CACHES, f"results/{PROFILE}")}


def damaged_commit(place: Path, wanted: World, chance: random.Random, rounds: int) -> dict:
    """A committed record with a flipped bit, which --reuse would rest on: an error with the mend."""
    world = World(place / "committed").copy_of(wanted, "results")
    path = world.root / CACHES[2] / chance.choice(names(world.root / CACHES[2])) / RECORD
    flip(path, chance)
    code, said = world.run("study", "--dataset", DATASET, "--profile", PROFILE, "--reuse")
    named = complaint(said, str(path), "git checkout")
    check(code == 1 and named, "a damaged committed file is named with the mend", said[-2000:])
    return {"damaged": 1}


def two_studies(place: Path, wanted: World, chance: random.Random, rounds: int) -> dict:
    """Two studies on one cache at once: both end well, each stage is computed once, no file is torn."""
    world = World(place / "two", wanted.notebooks)
    other = World(world.root, wanted.notebooks)
    first = world.begin()
    time.sleep(chance.uniform(0, 2))
    said = other.said.with_suffix(".second")
    shutil.move(world.said, said)  # the first goes on writing to it
    second = other.begin()
    codes = [world.end(first)[0], world.end(second)[0]]
    check(
        codes == [0, 0],
        "both studies end well",
        f"{codes}: {said.read_text()} {other.said.read_text()}",
    )
    twice = {name: n for name, n in Counter(world.computed()).items() if n > 1}
    check(not twice, "each stage is computed once", twice)
    return {"stages": len(world.computed()), "computed_twice": len(twice), **compare(world, wanted)}


PLAN = """
events: plays.csv
tasks: [{name: T2, kind: ranking, file: likes.csv}]
options: {min_events: 2, length: 4}
"""


def changed_dataset(place: Path, wanted: World, chance: random.Random, rounds: int) -> dict:
    """A table of the same name, size and time but other content, under a stream prepared before: an error."""
    world, tables = World(place / "changed"), place / "tables"
    tables.mkdir()
    (tables / "plan.yaml").write_text(PLAN)
    rows = [f"u{n % 30},{n % 7}" for n in range(120)]
    (tables / "plays.csv").write_text("user,item\n" + "\n".join(rows) + "\n")
    (tables / "likes.csv").write_text(
        "user,label\n" + "\n".join(f"u{n},{n % 3}" for n in range(30)) + "\n"
    )
    command = ("data", "describe", "custom", "--option", f"path={tables / 'plan.yaml'}")
    code, before = world.run(*command)
    check(code == 0, "the dataset is prepared", before)
    plays = tables / "plays.csv"
    then = plays.stat()
    plays.write_text(plays.read_text().replace("u1,1\n", "u1,2\n"))
    os.utime(plays, ns=(then.st_atime_ns, then.st_mtime_ns))
    check(plays.stat().st_size == then.st_size, "the size is the same", plays)
    found = []
    for _ in range(
        2
    ):  # the second time the prepared stream is damaged as well, and cannot be prepared as it was
        code, said = world.run(*command)
        found.append(said)
        named = "sha256" in said or "digest" in said
        check(
            code == 2 and named and "delete" in said,
            "a changed dataset is an error with the mend",
            said,
        )
        (stream,) = (world.root / "artifacts" / "streams").glob("custom-*/stream.safetensors")
        flip(stream, chance)
    check(str(plays) in found[0], "the changed file is named", found[0])
    return {"changed": 1}


SCENARIOS = {
    "full disk": full_disk,
    "read-only results": read_only_results,
    "damaged cache": damaged_cache,
    "damaged commit": damaged_commit,
    "two studies at once": two_studies,
    "changed dataset": changed_dataset,
}
SHORT_SCENARIOS = ("read-only results", "damaged cache", "changed dataset")


@dataclass
class Campaign:
    """The undisturbed study, the kills and the scenarios in one temporary folder."""

    plan: tuple = KILLS
    scenarios: tuple = tuple(SCENARIOS)
    notebooks: tuple = NOTEBOOKS
    rounds: int = 2
    seed: int = 1
    rows: list = field(default_factory=list)

    def run(self, place: Path) -> dict:
        """Everything; raises Fault at the first promise that is not kept."""
        started = time.monotonic()
        with tqdm(
            total=1 + len(self.plan) + len(self.scenarios), desc="faults", unit="start"
        ) as bar:
            bar.set_postfix_str("undisturbed")
            wanted = World(place / "undisturbed", self.notebooks)
            wanted.completes()
            bar.update()
            notebook_s = 0.0
            for line in wanted.said.read_text().splitlines():
                if line.split()[:1] in [[name] for name in self.notebooks]:
                    notebook_s += float(line.split()[1])
            killed = kills(
                place, wanted, self.plan, self.seed, notebook_s / len(self.notebooks), bar
            )
            for name in self.scenarios:
                bar.set_postfix_str(name)
                self.rows.append({"scenario": name, **self.outcome(name, place, wanted)})
                bar.update()
        return {
            "killed": killed,
            "scenarios": self.rows,
            "seconds": round(time.monotonic() - started),
        }

    def outcome(self, name: str, place: Path, wanted: World) -> dict:
        try:
            found = SCENARIOS[name](
                place, wanted, random.Random(f"{self.seed} {name}"), self.rounds
            )
        except NotPossible as reason:
            return {"outcome": "not possible here", "reason": str(reason)}
        return {"outcome": "survived", **found}


def short_campaign() -> Campaign:
    """The form that the tests run."""
    return Campaign(SHORT_KILLS, SHORT_SCENARIOS, NOTEBOOKS[:1], rounds=1)


def sentence(report: dict) -> str:
    """The figures as the README gives them."""
    killed = report["killed"]
    survived = [row["scenario"] for row in report["scenarios"] if row["outcome"] == "survived"]
    phases = ", ".join(f"{n} {phase}" for phase, n in killed["by_phase"].items())
    return (
        f"{killed['kills']} kills ({phases}), {killed['computed_again_finished']} finished stages computed again, "
        f"{killed['files']} files compared, {killed['bytes_lost']} bytes lost; survived too: {', '.join(survived)}"
    )


def table(report: dict) -> str:
    lines = [
        f"{'kills in phase ' + phase:<32}{n:>6}"
        for phase, n in report["killed"]["by_phase"].items()
    ]
    lines += [
        f"{'kills of ' + victim:<32}{n:>6}" for victim, n in report["killed"]["by_victim"].items()
    ]
    skip = ("by_phase", "by_victim")
    lines += [
        f"{key.replace('_', ' '):<32}{n:>6}"
        for key, n in report["killed"].items()
        if key not in skip
    ]
    for row in report["scenarios"]:
        about = ", ".join(
            f"{key} {value}" for key, value in row.items() if key not in ("scenario", "outcome")
        )
        lines.append(f"{row['scenario']:<32}{row['outcome']}: {about}")
    return "\n".join([*lines, f"{'seconds':<32}{report['seconds']:>6}"])


def commit() -> str:
    """The commit of the checkout. Raises SystemExit if that is not what lies there."""
    git = ["git", "-C", str(REPOSITORY)]
    changed = subprocess.run(
        [*git, "status", "--porcelain"], capture_output=True, text=True, check=True
    ).stdout
    changed = [
        line for line in changed.splitlines() if line[3:] != str(REPORT.relative_to(REPOSITORY))
    ]
    if changed:
        sys.exit(
            f"faults: the checkout is not what was committed ({changed[0].strip()}); commit first"
        )
    return subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="three kills, writes nothing")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the moments of the kills (default 1)"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="an empty folder to leave the studies in"
    )
    args = parser.parse_args()
    head = None if args.short else commit()
    campaign = short_campaign() if args.short else Campaign()
    campaign.seed = args.seed
    with contextlib.ExitStack() as stack:
        place = args.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-"))
        )
        place.mkdir(parents=True, exist_ok=True)
        try:
            report = campaign.run(place)
        except Fault as fault:
            print(f"faults: {fault}", file=sys.stderr)
            return 1
    print(table(report))
    if head:
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps({"commit": head, "seed": args.seed} | report, indent=1) + "\n")
        print(f"wrote {REPORT.relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
