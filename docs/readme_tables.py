"""Tables of the README and the documents: blocks between markers, derived from committed results.

``python docs/readme_tables.py`` (``make readme``) rewrites them; a test fails unless they are up to
date. A block of a page stands between ``<!-- name -->`` and ``<!-- /name -->``.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from conure_lib import paths
from conure_lib.analysis import claims, tables
from conure_lib.analysis.floors import POPULARITY
from conure_lib.analysis.stats import VERDICTS, relative_over_seeds, with_interval
from conure_lib.data import registry
from conure_lib.errors import ConureError
from conure_lib.figures.verdicts import SIGNS
from conure_lib.methods import COMPARED, METHODS
from conure_lib.study.profiles import REPORTED, study_config

PROFILE = "standard"
PAPER_STUDY = "ml-latest-small"  # whose study with the paper's own settings is published
TTL_STEPS = 36_750  # of an epoch of T1: 80% of its 1.47 million sequences in batches of 32
FINDINGS = {
    "C01": (
        "Does a network forget?",
        "T1's MRR@5 after T2 was learned on top of it, unprotected, against before",
    ),
    "C04": (
        "Is there room for more tasks?",
        "T1 of a network pruned by 70% and retrained, against the unpruned one",
    ),
    "C08": (
        "Does Conure keep up with fine-tuning on T2 and T3?",
        "Conure against a copy of T1's network fine-tuned for each task (STL)",
    ),
    "C14": (
        "Do tasks learned before help?",
        "T3 by Conure- after T1 and T2, against right after T1",
    ),
    "C22": (
        "Do other continual learners forget?",
        "Old tasks by EWC after the last one, against when they were learned",
    ),
}
"""Claim -> the question that it answers, and what its effect compares."""
SENTENCES = {
    "C01": (
        "PARTLY, CANNOT TELL, REPRODUCED, REPRODUCED",
        "**A network forgets what nothing protects.** Trained on T2, T1's network loses "
        "{complete-journey} of T1's MRR@5 on `complete-journey`, {oulad} on `oulad` and "
        "{synthetic} on `synthetic`; the paper reports {paper}. On `ml-100k` its last positions "
        "are too few to decide; at all positions it changes by {at all positions}. Conure forgot "
        "nothing: {comparisons} comparisons of weights and logits, bit by bit, found no "
        "difference.",
    ),
    "C04": (
        "REPRODUCED, REPRODUCED, REPRODUCED, REPRODUCED",
        "**There is room for more tasks.** On all four datasets a network pruned by 70% and "
        "retrained is at most 5% worse at T1 than the unpruned one: "
        "{complete-journey}, {ml-100k}, {oulad}, {synthetic}.",
    ),
    "C08": (
        "REPRODUCED, CANNOT TELL, REPRODUCED, REPRODUCED",
        "**One network ranks about as well as a fine-tuned copy of it per task (STL).** Conure "
        "against STL on T2 and T3: {complete-journey}, {oulad}, {synthetic}; on `ml-100k` the "
        "interval is too wide, {ml-100k} {ml-100k interval}. The paper: {paper}. The profiles that "
        "networks have learned vary more: {profiles}.",
    ),
    "C14": (
        "CANNOT TELL, CANNOT TELL, NOT REPRODUCED, REPRODUCED",
        "**On generated data an earlier task helps if it is related and harms if it is not; on "
        "real data there is no clear help before pruning.** Having learned T2 changes Conure-'s "
        "T3 by {complete-journey}, {ml-100k} and {oulad} on real data (the paper: {paper}), by "
        "{synthetic} on the control, where T3 follows the trait that T2 shows, and by {harm} where "
        "T2 is unrelated. Once T3 is pruned and retrained (Conure), {clear gains}.",
    ),
    "C22": (
        "PARTLY, NOT REPRODUCED, REPRODUCED, REPRODUCED",
        "**Other continual learners forget, though less than without protection.** EWC's old "
        "tasks lose {complete-journey}, {oulad} and {synthetic}, and nothing on `ml-100k`, where "
        "it hardly changes the network. After the last task TERACON scores {TERACON} of what "
        "Conure scores, LwF {LwF}, EWC {EWC}, Replay {Replay}, no protection {Sequential}.",
    ),
}
"""Claim -> the verdicts of its effect, in the ledger's order of datasets, and what they mean."""
LOSSES = ("C01", "C22")  # told without their sign
ANSWERS = {"REPRODUCED": "yes", "PARTLY": "in part", "NOT REPRODUCED": "no"}
MARKS = dict(zip(VERDICTS, SIGNS, strict=True))
STAR = r"\*"  # of what is clear
percent = partial(with_interval, unit="relative")


class MarkersError(ConureError):
    """Raised for a page whose markers and blocks differ."""


class SentenceError(ConureError):
    """Raised for a sentence whose verdicts have changed: what it says has to be thought again."""


def blocks() -> dict[str, dict[str, str | None]]:
    """Return every page's blocks: path below the repository -> name -> Markdown."""
    file = paths.claims(local=False)
    dials = paths.figures(PROFILE, "synthetic", local=False) / "dials_transfer.csv"
    ledger = pd.read_csv(file)
    ledger = ledger[ledger["profile"] == PROFILE]
    found = {path.parent.name: path for path in sorted(_results("").glob("*/overall.csv"))}
    read = partial(pd.read_csv, dtype={"variant": str})
    by_metric = {n: pd.read_csv(p.with_name("by_metric.csv")) for n, p in found.items()}
    literal = {n: all_labels_compete(n) for n in found}
    table_2 = {n: (read(p), read(p.with_name("floors.csv"))) for n, p in found.items()}
    carded = [*POPULARITY, "Linear (window)", "Linear", "Conure"]
    short = {n: (t[t["method"].isin(carded)],) for n, (t, _) in table_2.items()}
    ledgers = dict(list(ledger.groupby("dataset"))) if len(ledger) else {}
    speed, scaling, inference, gpu = (
        json.loads((paths.benchmarks() / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("speed", "scaling", "inference", "gpu")
    )
    paper = paths.results("paper", PAPER_STUDY, local=False)
    papers = {PAPER_STUDY: (read(paper / "overall.csv"), read(paper / "floors.csv"))}
    points = pd.read_csv(paths.benchmarks() / "scaling.csv")
    return {
        "README.md": {
            "overview": picture(
                "overview", "Who owns the weights as tasks are learned; what came out"
            ),
            "findings": sentences(ledger, read(dials)),
            "notebooks": notebooks(ledger),
        },
        "docs/results.md": {
            "at a glance": findings(ledger, read(dials)),
            "claims": picture("claims", "Effects beside the paper's, by dataset", "../"),
            "verdicts": verdicts(ledger),
            "ledger": by_dataset(effects, ledgers),
            "by metric": by_dataset(tables.both_readings, by_metric),
            "all labels": by_dataset(scores, literal),
            "table 2": by_dataset(tables.side_by_side, table_2),
            "dials": transfer_by_dial(read(dials)),
            "cost": cost(found),
        },
        "docs/speed.md": {
            "speed": against_references(speed["rows"]),
            "speed facts": speed_facts(speed, inference),
            "growth": growth(scaling["exponents"], points),
            "gpu": on_a_gpu(gpu),
        },
        "docs/paper-scale.md": {
            "study": by_dataset(tables.side_by_side, papers),
            "study cost": study_cost(paper),
        },
        "docs/model-card.md": {
            "metrics": by_dataset(tables.side_by_side, short),
            "cost": cost(found),
        },
        "docs/your-own-data.md": {"defaults": defaults()},
        "docs/data-cards.md": {f"counts {name}": counts(name) for name in REPORTED},
    }


def filled(page: str, texts: Mapping[str, str | None]) -> str:
    """Return the page with the text of every block replaced; None leaves a block as it is.

    Raises MarkersError unless the page has markers for each block and for nothing else.
    """
    if odd := set(re.findall(r"<!-- ([^/].*?) -->", page)) ^ set(texts):
        raise MarkersError(f"blocks {sorted(odd)}: found in one, expected in both page and tables")
    for name, text in ((name, text) for name, text in texts.items() if text is not None):
        page = re.sub(
            rf"<!-- {name} -->.*?<!-- /{name} -->",
            lambda _, name=name, text=text: f"<!-- {name} -->\n{text}\n<!-- /{name} -->",
            page,
            flags=re.DOTALL,
        )
    return page


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as Markdown, without its index and without padding."""
    text = table.to_markdown(index=False, disable_numparse=True)
    return re.sub(r"-{3,}", "---", re.sub(r" {2,}", " ", text))


def picture(name: str, says: str, up: str = "") -> str:
    """Return a figure of all datasets as Markdown, the one that was drawn of the most.

    up: from the page's folder to the repository's root.
    """
    folders = [paths.figures(PROFILE, dataset, local=False) for dataset in REPORTED]
    files = [file for folder in folders if (file := folder / f"{name}.csv").is_file()]
    file = max(files, key=lambda file: pd.read_csv(file)["dataset"].nunique())
    return f"![{says}]({up}{file.with_suffix('.png').relative_to(paths.ROOT).as_posix()})"


def sentences(ledger: pd.DataFrame, dials: pd.DataFrame) -> str:
    """Return what was found, a sentence or two per claim of ``SENTENCES``.

    Raises SentenceError if the verdicts are no longer those that a sentence was written for.
    """
    said, others = [], _besides(ledger, dials)
    for claim, (expected, text) in SENTENCES.items():
        rows = ledger[ledger["claim"] == claim].set_index("dataset")
        if (found := ", ".join(rows["effect_verdict"])) != expected:
            raise SentenceError(f"{claim}: written for {expected}, the verdicts are {found}")
        told = {n: _told(effect, claim in LOSSES) for n, effect in rows["effect"].items()}
        told["paper"] = _told(rows["paper"].iloc[0], claim in LOSSES)
        for name, row in rows.iterrows():
            told[f"{name} interval"] = f"[{_told(row.ci_low)}, {_told(row.ci_high)}]"
        said.append(text.format_map(told | others))
    lines = (f"{number}. {text}" for number, text in enumerate([*said, _linear()], 1))
    return "\n".join(lines) + f"\n\n{seeds(ledger)}"


def seeds(ledger: pd.DataFrame) -> str:
    """Return how many seeds of each dataset there are."""
    counts = ledger.groupby("dataset")["seeds"].max().items()
    return f"Seeds: {', '.join(f'{n:.0f} of 6 on `{name}`' for name, n in counts)}."


def _told(effect: float, as_loss: bool = False) -> str:
    """Return an effect in per cent with two digits; a loss has no sign."""
    percents = -100 * effect if as_loss else 100 * effect
    text = f"{percents:{'' if as_loss else '+'}.{0 if abs(percents) >= 10 else 1}f}"
    return f"{text}%"


def _besides(ledger: pd.DataFrame, dials: pd.DataFrame) -> dict[str, str]:
    """Return what sentences tell beside a claim's own effects."""
    bits = ledger.loc[ledger["claim"] == "C13", ["verdict", "reason"]]
    assert set(bits["verdict"]) == {"REPRODUCED"}, "something was forgotten"
    compared = sum(int(reason.split()[0]) for reason in bits["reason"])
    rows = dials[dials["seed"].isna() & (dials["method"] == "Conure-")].set_index("row")
    profiles = {name: on_profiles(name) for name in ledger["dataset"].unique()}
    found = {
        "comparisons": f"{compared:,}",
        "at all positions": at_all_positions("ml-100k"),
        "profiles": "; ".join(f"`{n}` {text}" for n, text in profiles.items() if "%" in text),
        "harm": _told(rows.loc["relatedness 0", "relative"]),
        "clear gains": _clear_gains(),
    }
    after = pd.concat([pd.read_csv(f) for f in sorted(_results("").glob("*/continual.csv"))])
    for name, effects in after.groupby("ours")["effect"]:
        low, high = 1 + effects.min(), 1 + effects.max()
        found[name] = f"{low:.0%} to {high:.0%}"
    return found


def _clear_gains() -> str:
    """Return how many of Conure's gains from T2 on real data are clear, and which."""
    shares = {"all": "", "20%": " with a fifth of T3's data"}
    real = [name for name in REPORTED if name != "synthetic"]
    gains = {f"`{n}`{said}": by_conure(n, share) for n in real for share, said in shares.items()}
    clear = [f"{gain.removesuffix(STAR)} on {n}" for n, gain in gains.items() if STAR in gain]
    return f"{len(clear)} of {len(gains)} such changes are clear: {', '.join(clear) or 'none'}"


def _linear() -> str:
    """Return how the best network and a linear model of the history stand on real data."""
    real = [name for name in REPORTED if name != "synthetic"]
    found = (pd.read_csv(_results(name) / "floors.csv") for name in real)
    rows = pd.concat(t[t["theirs"].eq("Linear") & t["task"].isin(learned(t))] for t in found)
    lost, won = rows[rows["effect"] < 0], rows[rows["effect"] > 0]
    literal = pd.concat(map(all_labels_compete, real))
    ahead = (literal["score"] > literal["Linear"]).sum()
    return (
        f"**Networks are not always the better user model.** On {len(lost)} of the {len(rows)} "
        "tasks after T1 that networks have learned on real data, a linear model of the user's "
        f"whole history is ahead of the best of them, on {lost['clear'].sum()} clearly; the best "
        f"network is ahead on {len(won)}, on {won['clear'].sum()} clearly. This holds where a "
        "user's known labels are left out. Where all labels compete, as in the paper, the best "
        f"network is ahead on {ahead} of {len(literal)} ranking tasks."
    )


def all_labels_compete(dataset: str) -> pd.DataFrame:
    """Return the best network on T2 and T3 beside the floors, all labels competing."""
    table = pd.read_csv(_results(dataset) / "other_metrics.csv", dtype={"variant": str})
    table = table[table["variant"].isna() & table["task"].str.endswith("-literal")]
    wide = table.pivot(index="task", columns="method", values="value")
    networks = wide[[name for name in COMPARED if name in wide and not METHODS[name].floor]]
    best = {"best network": networks.idxmax(axis=1), "score": networks.max(axis=1)}
    names = [name for name in (*POPULARITY, "Linear (window)", "Linear") if name in wide]
    wide = pd.DataFrame(best).join(wide[names]).reset_index()
    return wide.assign(task=wide["task"].str.partition("-")[0])


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``all_labels_compete`` as text."""
    text = table.map(lambda x: x if isinstance(x, str) else f"{x:.3g}")
    return text.set_index("task")


def findings(ledger: pd.DataFrame, dials: pd.DataFrame) -> str:
    """Return the questions of ``FINDINGS``: in words, and the effect on each dataset.

    dials: of notebook 09, for one more question.
    """
    names, lines = list(dict.fromkeys(ledger["dataset"])), []
    for claim, (question, compared) in FINDINGS.items():
        rows = ledger[ledger["claim"] == claim].set_index("dataset", drop=False)
        papers = rows["paper"].dropna()
        line = {"": f"**{question}** *{answer(rows)}* {compared} ({claim})"}
        for name, row in rows.iterrows():
            effect = percent(row.effect, row.ci_low, row.ci_high)
            line[name] = ", ".join(text for text in (effect, row.effect_verdict.lower()) if text)
        lines.append(line | {"the paper": percent(papers.iloc[0]) if len(papers) else ""})
        for text, of_dataset in BESIDE.get(claim, {}).items():
            lines.append({"": text} | {name: of_dataset(name) for name in names})
    rows = dials[dials["seed"].isna() & (dials["method"] == "Conure-")].set_index("row")
    apart, alike = (rows.loc[f"relatedness {r}"] for r in (0, 1))
    harms = "yes" if apart["clear"] and apart["relative"] < 0 else "not clearly"
    harm, gain = (percent(*one[["relative", "low", "high"]]) for one in (apart, alike))
    said = f"**Can a task harm the next?** *On generated streams: {harms}.* T3 by Conure-"
    said += " after T1 and T2, against right after T1 (notebook 09)"
    effects = f"{harm} where T2 is unrelated, {gain} where it follows the same trait"
    lines.append({"": said, "synthetic": effects})
    table = pd.DataFrame(lines, columns=["", *names, "the paper"]).fillna("")
    said = "In brackets, on each side, the wider end of the 95% intervals over users and over"
    said += " seeds; a star: clear by both. A verdict here is that of the effect beside it; that of"
    said += " the whole claim, which often has more parts, stands below."
    said += " `synthetic` is no evidence on users but a control: a generated stream in which T3"
    said += " follows the very trait that T2 shows."
    return f"{markdown(table)}\n\n{said} {seeds(ledger)}"


def answer(rows: pd.DataFrame) -> str:
    """Return in words what verdicts come to, on real data and on the control."""
    said = []
    for is_control, some in rows.groupby(rows["dataset"] == "synthetic")["effect_verdict"]:
        told = set(some) - {"CANNOT TELL", "NOT TESTED"}
        if not told:
            words = "the data do not decide"
        elif len(told) == 1:
            words = ANSWERS[min(told)]
        else:
            words = "it depends on the dataset" if "NOT REPRODUCED" in told else "fully or in part"
        decided = sum(verdict in told for verdict in some)
        words += f" ({decided} of {len(some)} decide)" if 0 < decided < len(some) else ""
        said.append(f"{'on the control' if is_control else 'on real data'}: {words}")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}."


def at_all_positions(dataset: str) -> str:
    """Return how far T1 falls at all positions when T2 is learned with nothing protected."""
    table = pd.read_csv(_results(dataset) / "metrics.csv", dtype={"variant": str})
    table = table[(table["method"] == "STL") & table["variant"].isna()]
    wide = table.pivot(index="seed", columns="measure", values="value")
    before, after = wide["T1-all"], wide["T1-all-after"]
    e = relative_over_seeds([(after - before, before)])
    return percent(e.mean, e.low, e.high)


def on_profiles(dataset: str) -> str:
    """Return how Conure stands to STL on each profile that networks have learned."""
    table = pd.read_csv(_results(dataset) / "overall.csv", dtype={"variant": str})
    table = table[table["variant"].isna() & (table["metric"] == "accuracy")]
    wide = table.pivot(index="task", columns="method", values="value")
    wide = wide[wide.index.isin(learned(pd.read_csv(_results(dataset) / "floors.csv")))]
    found = (wide["Conure"] / wide["STL"] - 1).items()
    return ", ".join(f"{task} {percent(effect)}" for task, effect in found) or "none learned"


def learned(floors: pd.DataFrame) -> set[str]:
    """Return the tasks on which networks clearly beat popularity (of the user's group)."""
    gate = next(name for name in POPULARITY if name in set(floors["theirs"]))
    rows = floors[(floors["theirs"] == gate) & floors["clear"] & (floors["effect"] > 0)]
    return set(rows["task"])


def beside_linear(dataset: str) -> str:
    """Return how the best network of each learned task but T1 stands to a linear model."""
    table = pd.read_csv(_results(dataset) / "floors.csv")
    rows = table[(table["theirs"] == "Linear") & table["task"].isin(learned(table))].itertuples()
    return ", ".join(f"{r.task} {percent(r.relative)}{STAR * r.clear}" for r in rows)


def by_conure(dataset: str, share: str = "all") -> str:
    """Return what T2 adds to T3 by Conure, which is pruned and retrained (notebook 04)."""
    table = pd.read_csv(paths.figures(PROFILE, dataset, local=False) / "table3_transfer.csv")
    row = table[(table["method"] == "Conure") & (table["share"] == share)].iloc[0]
    effect = percent(row["relative"], row["relative_low"], row["relative_high"])
    return f"{effect}{STAR * bool(row['clear'])}"


def after_the_last_task(dataset: str) -> str:
    """Return how continual learners stand against Conure after the last task."""
    file = _results(dataset) / "continual.csv"
    rows = pd.read_csv(file).sort_values("effect") if file.is_file() else pd.DataFrame()
    texts = (f"{r.ours} {r.effect:+.0%}{STAR * r.clear}" for r in rows.itertuples())
    return ", ".join(texts) or "not computed"


BESIDE = {
    "C01": {
        "the same at all positions, not the last alone (interval over seeds)": at_all_positions
    },
    "C08": {
        "the same on each learned profile, without an interval": on_profiles,
        "**Do networks beat a linear model?** The best of the paper's methods on each learned task,"
        " against a linear model of the user's history": beside_linear,
    },
    "C14": {
        "the same by Conure, which is pruned and retrained": by_conure,
        "the same by Conure with 20% of T3's data": partial(by_conure, share="20%"),
    },
    "C22": {
        "scores after the last task, relative to Conure's (Joint: settings not searched"
        " for it)": after_the_last_task
    },
}
"""What a claim's finding is seen beside: in words, and a function of the dataset."""


def notebooks(ledger: pd.DataFrame) -> str:
    """Return the notebooks: what each asks, its claims' verdicts, and where it is as it ran."""
    names = list(dict.fromkeys(ledger["dataset"]))
    rows = []
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        title = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        asks, _, shows = title.splitlines()[0].partition(" · ")[2].partition(" (")
        own = [c for c in claims.CLAIMS.values() if c.notebook == path.stem]
        of_each = [(c, ledger[ledger["claim"] == c.id].set_index("dataset")) for c in own]
        answers = [
            f"{''.join(MARKS[one.verdict[n]] for n in names)} {c.title}"
            f" ({c.id}{STAR * c.by_construction})"
            for c, one in of_each
            if len(one)
        ]
        ran = next(
            f"[{name}](results/{PROFILE}/{name}/notebooks/{path.name})"
            for name in REPORTED
            if (_results(name) / "notebooks" / path.name).is_file()
        )
        row = {"notebook": f"[{path.stem[:2]}](notebooks/{path.name}) {asks}"}
        row |= {"of the paper": shows.rstrip(")").partition("; ")[0]}
        rows.append(row | {"what came out": "<br>".join(answers), "as it ran": ran})
    marks = ", ".join(f"{mark} {verdict.lower()}" for verdict, mark in MARKS.items())
    order = ", ".join(f"`{name}`" for name in names)
    said = f"What came out of the paper's claims, on {order} in turn: {marks}."
    return f"{markdown(pd.DataFrame(rows))}\n\n{said} A star: true by construction."


def verdicts(ledger: pd.DataFrame) -> str:
    """Return the ledger's verdicts, a column per dataset, and how often each was found."""
    ledger = ledger.assign(verdict=ledger["verdict"].str.lower())
    wide = ledger.pivot(index="claim", columns="dataset", values="verdict").reset_index()
    wide["claim"] = [f"{name}: {claims.CLAIMS[name].statement}" for name in wide["claim"]]
    counted = ledger[~ledger["by_construction"]].groupby("dataset", sort=False)["verdict"]
    counts = [
        f"{dataset} (seeds: {ledger.query('dataset == @dataset')['seeds'].max()} of six) "
        + ", ".join(f"{n} {verdict}" for verdict, n in found.value_counts().items())
        for dataset, found in counted
    ]
    besides = ", ".join(ledger.loc[ledger["by_construction"], "claim"].unique())
    return f"{markdown(wide)}\n\nWithout {besides}, true by construction: {'; '.join(counts)}."


def effects(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return a dataset's verdicts with their effects: one row per claim."""
    titles = [f"{name} {claims.CLAIMS[name].title}" for name in ledger["claim"]]
    asked = ["claim", "verdict", "paper", "effect", "ci_low", "ci_high", "unit", "smallest"]
    asked += ["detectable", "p_ledger", "p_seeds", "seeds", "reason"]
    table = ledger.assign(claim=titles)[asked].reset_index(drop=True)
    return tables.show(table, {"effect": "effect [95% interval]"})


def by_dataset(make: Callable[..., pd.DataFrame], of: Mapping[str, pd.DataFrame | tuple]) -> str:
    """Return a table per dataset under its name, made of one frame or of several."""
    frames = {name: one if isinstance(one, tuple) else (one,) for name, one in of.items()}
    made = {name: markdown(make(*some).reset_index()) for name, some in frames.items()}
    texts = [f"**`{name}`**\n\n{text}" for name, text in made.items()]
    return "\n\n".join(texts)


def transfer_by_dial(dials: pd.DataFrame) -> str:
    """Return T3 before and after T2 in streams with planted relatedness (notebook 09)."""
    rows = dials[dials["seed"].isna() & (dials["method"] == "Conure-")]
    gains = [f"{r.relative:+.0%} [{r.low:+.0%}, {r.high:+.0%}]" for r in rows.itertuples()]
    named = {"popularity": "popularity", "without": "T3 without T2", "with": "T3 after T2"}
    columns = {head: rows[name].map("{:.4f}".format) for name, head in named.items()}
    first = {"dial": rows[rows.columns[0]]}
    return markdown(pd.DataFrame(first | columns | {"gain from T2 [95% interval]": gains}))


def cost(datasets: Iterable[str]) -> str:
    """Return what the published stages of each dataset took, in CPU minutes."""
    rows = []
    for name in datasets:
        files = sorted(_results(name).glob("seed-*.parquet"))
        read = (pd.read_parquet(file, columns=["id", "environment"]) for file in files)
        stages = pd.concat(read).drop_duplicates("id")
        minutes = sum(json.loads(text)["cpu_s"] for text in stages["environment"]) / 60
        row = {"dataset": name, "seeds": str(len(files)), "stages": f"{len(stages):,}"}
        rows.append(row | {"CPU minutes": f"{minutes:.0f}"})
    return markdown(pd.DataFrame(rows))


def counts(dataset: str) -> str | None:
    """Return the counts of the study's stream for its data card, None if it is not at hand."""
    data = study_config(dataset, PROFILE).data
    if not registry.is_at_hand(data):
        return None
    described = pd.DataFrame(registry.load(data).describe()).drop(columns="dataset")
    return markdown(described.map(lambda x: f"{x:,}" if isinstance(x, int) else x))


def against_references(rows: list[dict]) -> str:
    """Return the rows of speed.json: our time, both ratios, GFLOP/s of our products."""

    def ratio(row: dict, name: str) -> str:
        return f"{row[name]:.1f}x" if name in row else ""

    shown = [
        {
            "work": row["name"],
            "Conure": f"{row['ours_ms']:,.0f} ms",
            "against *port*": ratio(row, "port_ratio"),
            "against *lean*": ratio(row, "lean_ratio"),
            "GFLOP/s": f"{row['gflops']:.0f}",
        }
        for row in rows
    ]
    return markdown(pd.DataFrame(shown))


def defaults() -> str:
    """Return how far the defaults of ``conure run`` come on the study's datasets."""
    files = sorted(paths.benchmarks().glob("defaults-*.json"))
    found = (row for file in files for row in json.loads(file.read_text(encoding="utf-8"))["rows"])
    rows = [
        {"dataset": row["dataset"], "task": row["task"], "seeds": str(row["seeds"])}
        | {name: f"{row[name]:.3g}" for name in ("default", "searched", "popularity")}
        | {"of the searched": f"{row['share']:.0%}"}
        for row in found
    ]
    return markdown(pd.DataFrame(rows))


def speed_facts(speed: dict, inference: dict) -> str:
    """Return what else was measured, as a list."""
    large, owners, about = speed["catalogue"], speed["owner_maps"], speed["environment"]
    ratio = "{median:.2f} [{low:.2f}, {high:.2f}]".format_map
    once, masked = ratio(inference["materialised"]), ratio(inference["masked"])
    lines = (
        f"A sampled T1 step of batch 32 at size (b) over {large['items']:,} items takes "
        f"{large['step_s']:.1f} s and {large['peak_gib']:.1f} GiB; the references' logits alone "
        f"would take {large['logits_gib']:.1f} GiB.",
        f"The owner maps of six tasks take {owners['bits_per_weight']:.2f} bits per weight on disk "
        f"(the entropy of the owners is {owners['entropy']:.2f}): {owners['bytes'] / 1e6:.1f} MB, "
        f"where float masks would take {owners['float_mask_bytes'] / 1e6:.0f} MB.",
        f"Inference for one of six tasks takes {once} times as long as in a network that never had "
        f"owners if the masked weights are materialised once, and {masked} times as long as that "
        f"if they are masked before every request (median of {inference['rounds']} rounds, 95% "
        "interval).",
        f"Measured on {speed['threads']} threads, medians of at least {speed['min_rounds']} "
        f"rounds, at commit `{about['commit'][:10]}`.",
    )
    return "\n".join(f"- {line}" for line in lines)


def on_a_gpu(found: dict) -> str:
    """Return what gpu.json says: the kinds of step, and what was checked."""
    parts, device = found["sections"], found["environment"]["processor"]["gpu"]
    steps, peaks = parts["steps"]["rows"], parts["steps"]["measured_peak_tflops"]
    rows = [
        {
            "step": row["step"].removeprefix("ttl ").removeprefix("ml "),
            "network of": "TTL" if row["step"].startswith("ttl") else "MovieLens",
            "time": f"{row['ms']:.0f} ms",
            "with TF32": f"{row['tf32_ms']:.0f} ms",
            "launches": f"{row['launches']:,}",
            "of the peak": f"{row['share_of_fp32_peak']:.0%}",
            "memory": f"{row['peak_gib']:.1f} GiB",
        }
        for row in steps
    ]
    kept, same = (parts["no forgetting, the same bytes twice"][n] for n in ("no_forgetting", "ok"))
    against, graph = parts["CPU against this device"]["differences"], parts["graphs"]
    worst = max(row[name] for row in against.values() for name in ("loss", "gradient", "vectors"))
    epoch, ttl = parts["epoch of T1, ML-25M"], TTL_STEPS * steps[0]["ms"] / 60_000
    each = [1000 * row["ms"] / row["launches"] for row in steps]
    precise = "; ".join(
        f"{name}: {row['ieee_ms']:.0f}, {row['tf32_ms']:.0f} and {row['bfloat16_ms']:.0f} ms"
        for name, row in parts["precisions"]["rows"].items()
    )
    lines = (
        f"{device}, PyTorch {found['environment']['packages']['torch']}. *Of the peak*: of the "
        f"{peaks['ieee']:.0f} TFLOP/s that a large product of fp32 matrices reaches there (TF32: "
        f"{peaks['tf32']:.0f}).",
        f"A step starts a kernel every {min(each):.0f} to {max(each):.0f} µs.",
        f"{'Nothing' if kept else 'SOMETHING'} is forgotten, and the same seed gives "
        f"{'the same' if same else 'OTHER'} bytes twice. CPU and GPU differ by {worst:.0e} at most "
        "(loss, gradients, users' vectors; relative).",
        f"An epoch of T1 at ML-25M's size takes {epoch['epoch_s'] / 60:.0f} minutes, extrapolated "
        f"from {epoch['measured_steps']} of {epoch['steps']:,} steps; one of TTL's "
        f"{TTL_STEPS:,} steps {ttl:.0f} minutes without its validation, by the row above.",
        f"The network alone, forward and backward, in fp32, TF32 and bfloat16: {precise}.",
        f"A narrow network's step (width {graph['width']}, 4 convolutions, batch 32) takes "
        f"{graph['eager_ms']:.1f} ms, replayed as a CUDA graph {graph['graph_ms']:.2f} ms.",
    )
    return f"{markdown(pd.DataFrame(rows))}\n\n" + "\n".join(f"- {line}" for line in lines)


def study_cost(folder: Path) -> str:
    """Return what a published study took, with stages side by side, from its environments."""
    read = [pd.read_parquet(f, columns=["environment"]) for f in sorted(folder.glob("seed-*"))]
    every = [json.loads(text) for text in pd.concat(read)["environment"]]
    ended = pd.to_datetime([one["time"] for one in every])
    walls = pd.Series([one["wall_s"] for one in every])
    span = (ended.max() - (ended - pd.to_timedelta(walls, "s")).min()).total_seconds()
    device = next(one["processor"]["gpu"] for one in every if "gpu" in one["processor"])
    return (
        f"{len(every)} stages side by side on one {device} took {span / 60:.1f} minutes; the times "
        f"of single stages, each slowed by the others, add up to {walls.sum() / 60:.0f} minutes."
    )


def growth(exponents: list[dict], points: pd.DataFrame) -> str:
    """Return how the time of each work grows with each size, and the most memory of any point."""
    fitted = pd.DataFrame(exponents)
    fitted["cell"] = [f"{row.axis}^{row.seconds:.2f}" for row in fitted.itertuples()]
    wide = fitted.pivot(index="axis", columns="work", values="cell").fillna("")
    wide = wide.loc[fitted["axis"].unique(), fitted["work"].unique()]
    top = points.loc[points["peak_gib"].idxmax()]
    most = f"{top.peak_gib:.1f} GiB ({top.work}, {top.value:,} {top.axis})"
    table = markdown(wide.rename_axis("time grows with").reset_index())
    return f"{table}\n\nThe most memory that any point took: {most}."


def _results(dataset: str) -> Path:
    return paths.results(PROFILE, dataset, local=False)


def write() -> None:
    """Rewrite the blocks of every page."""
    for name, texts in blocks().items():
        page = paths.NOTEBOOKS.parent / name
        page.write_text(filled(page.read_text(encoding="utf-8"), texts), encoding="utf-8")


if __name__ == "__main__":
    write()
