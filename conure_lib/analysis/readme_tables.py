"""What README quotes of the committed results: blocks between markers, derived, never typed (``make readme``)."""

import json
import re
from pathlib import Path

import pandas as pd

from conure_lib import paths
from conure_lib.analysis import claims, tables

README = Path(__file__).resolve().parent.parent / "README.md"


class ReadmeError(ValueError):
    """A page whose markers do not fit its blocks. The message names the block."""


def blocks(profile: str = "standard") -> dict[str, str]:
    """The blocks by their marker: the ledger, a table 2 a dataset, and the measurements of speed."""
    ledger = pd.read_csv(paths.claims(local=False))
    found = {"ledger": claims.markdown(ledger[ledger["profile"] == profile])}
    for path in sorted(paths.ROOT.glob(f"results/{profile}/*/overall.csv")):
        found[f"table2 {path.parent.name}"] = tables.side_by_side(pd.read_csv(path)).to_markdown()
    found |= {
        "worlds": worlds(pd.read_csv(paths.figures(profile, "synthetic", local=False) / "dials_transfer.csv"))
    }
    found |= {"spent": spent()}
    bench, study, scale, data = (
        json.loads((paths.bench(quick=False) / f"{name}.json").read_text())
        for name in ("bench", "study", "scale", "data")
    )
    points = pd.read_csv(paths.bench(quick=False) / "scale.csv")
    repeats = [
        json.loads(file.read_text())
        for file in sorted((paths.bench(quick=False) / "repeats").glob("*.json"))
    ]
    found |= {"growth": growth(scale, points), "streams": streams(data)}
    found |= {
        "speed": speed(bench, repeats),
        "tricks": tricks(bench),
        "speed facts": facts(bench),
        "study": costs(study),
    }
    return found


def filled(page: str, texts: dict[str, str]) -> str:
    """The page with every block between its markers replaced.

    Raises ReadmeError for a block without markers in the page, and for markers of a block that there is not.
    """
    there = re.findall(r"<!-- ([^/].*?) -->", page)
    if odd := set(there) ^ set(texts):
        raise ReadmeError(
            f"blocks {sorted(odd)}; wanted: each block once in the page, between its two markers"
        )
    for name, text in texts.items():
        page = re.sub(
            f"<!-- {name} -->.*?<!-- /{name} -->",
            lambda _, name=name, text=text: f"<!-- {name} -->\n{text}\n<!-- /{name} -->",
            page,
            flags=re.DOTALL,
        )
    return page


def worlds(dials: pd.DataFrame) -> str:
    """What notebook 09 found of worlds with likes (T3) and clicks (T2): T3 without and after T2, and the gain."""
    lines = [
        "| world | popularity | T3 without T2 | T3 after T2 | gain from T2 [95% interval] |",
        "|---" * 5 + "|",
    ]
    for row in dials[dials["seed"].isna()].itertuples():
        values = " | ".join(
            f"{dials.loc[row.Index, name]:.4f}" for name in ("popularity", "without", "with")
        )
        lines.append(
            f"| {row.world} | {values} | {row.relative:+.0%} [{row.low:+.0%}, {row.high:+.0%}] |"
        )
    return "\n".join(lines)


def spent() -> str:
    """What the published stages of each dataset took, in CPU minutes."""
    lines = ["| dataset | stages | CPU minutes |", "|---" * 3 + "|"]
    for folder in sorted(paths.results("standard", "x", local=False).parent.iterdir()):
        environments = [
            json.loads(text)
            for file in folder.glob("seed-*.parquet")
            for text in pd.read_parquet(file, columns=["environment"])["environment"]
        ]
        seconds = sum(environment["cpu_s"] for environment in environments)
        lines.append(f"| {folder.name} | {len(environments):,} | {seconds / 60:.0f} |")
    return "\n".join(lines)


def speed(bench: dict, repeats: list[dict]) -> str:
    """bench.json's parts: ours in ms a step, both ratios, the target, GFLOP/s and their share of the peak, and
    the share of our time that products take. repeats: whole runs at other times, of the same form; the lowest
    and the highest ratio to the port of all runs."""
    head = (
        "work",
        "here",
        "against port",
        f"lowest and highest of {1 + len(repeats)} runs",
        "against lean",
        "wanted",
        "GFLOP/s, share of the fastest product",
        "time in products",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in bench["parts"]:
        port, lean = (
            f"{row[n]['ratio']:.1f}x" if row[n]["ratio"] else row[n]["reason"]
            for n in ("port", "lean")
        )
        wanted = f"{row['target']:g}x" if row["target"] else ""
        used = f"{row['gflops']:.0f}, {row['share_of_peak']:.0%}"
        lean = "same work" if lean.startswith("the same work") else lean
        ratios = [
            part["port"]["ratio"]
            for run in (bench, *repeats)
            for part in run["parts"]
            if part["name"] == row["name"]
        ]
        between = f"{min(ratios):.1f} to {max(ratios):.1f}"
        shown = f"{row['name']} | {row['ours_ms']:,.0f} ms | {port} | {between} | {lean} | {wanted} | {used}"
        lines.append(f"| {shown} | {row['spent']['products']:.0%} |")
    return "\n".join(lines)


def tricks(bench: dict) -> str:
    """bench.json's tricks: with, without, gain."""
    lines = ["| trick | with | without | gain |", "|---" * 4 + "|"]
    for row in bench["tricks"]:
        spent = " | ".join(f"{row[f'{name}_ms']:,.1f} ms" for name in ("with", "without"))
        lines.append(f"| {row['name']} | {spent} | {row['ratio']:.2f}x |")
    return "\n".join(lines)


def facts(bench: dict) -> str:
    """bench.json's facts and where they come from."""
    large, saved, about = bench["large catalogue"], bench["checkpoint (b)"], bench["environment"]
    lines = (
        f"A sampled T1 step of batch 32 at size (b) over {large['items']:,} items takes {large['step_s']:.1f} s "
        f"and {large['peak_gib']:.1f} GiB; the references cannot run it ({large['port']}).",
        f"The owner maps of six tasks take {saved['bits_per_weight']:.2f} bits a weight on disk (the entropy of "
        f"the owners is {saved['entropy']:.2f}): {saved['owner_bytes'] / 1e6:.1f} MB, where float masks would "
        f"take {saved['float_mask_bytes'] / 1e6:.0f} MB.",
        f"Measured on {bench['threads']} threads, medians of at least {bench['least_rounds']} rounds, commit "
        f"`{about['commit'][:10]}` (`results/bench/bench.json`); the fastest product of that run reached "
        f"{bench['gemm_gflops']['peak']:.0f} GFLOP/s.",
    )
    return "\n".join(f"- {line}" for line in lines)


def growth(scale: dict, points: pd.DataFrame) -> str:
    """scale.json's exponents: how the time of each work grows with each size; of scale.csv the most memory."""
    fitted = pd.DataFrame(scale["exponents"]).pivot(index="axis", columns="work", values="seconds")
    works = list(dict.fromkeys(row["work"] for row in scale["exponents"]))
    lines = [f"| time grows with | {' | '.join(works)} |", "|---" * (1 + len(works)) + "|"]
    for axis in dict.fromkeys(row["axis"] for row in scale["exponents"]):
        powers = [fitted.loc[axis, work] for work in works]  # T1 has no tasks before it
        lines.append(
            f"| {axis} | {' | '.join('' if pd.isna(p) else f'{axis}^{p:.2f}' for p in powers)} |"
        )
    top = points.loc[points["peak_gib"].idxmax()]
    most = f"{top.peak_gib:.1f} GiB ({top.work}, {top.value:,} {top.axis})"
    lines += ["", f"The most memory that a point took: {most}."]
    return "\n".join(lines)


def costs(study: dict) -> str:
    """study.json: what the profile's stages cost, and how many times as long the references would take."""
    lines = [
        "| dataset | stages | CPU time | of it measured here | against port | against lean |",
        "|---" * 6 + "|",
    ]
    for name, one in study["datasets"].items():
        ratios = " | ".join(f"{one[who]['ratio']:.1f}x" for who in ("port", "lean"))
        lines.append(
            f"| `{name}` | {one['stages']:,} | {one['cpu_s'] / 60:.0f} min | {one['covered']:.0%} | {ratios} |"
        )
    return "\n".join(lines)


def streams(data: dict) -> str:
    """data.json: what it takes to prepare and to read streams of the paper's size."""
    head = (
        "like",
        "largest official file",
        "prepared, once",
        "loaded and read in batches",
        "pandas reads the file",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, one in data["datasets"].items():
        size = (
            f"{one['ratings']:,} ratings"
            if one["ratings"]
            else f"{one['users']:,} users, {one['items']:,} items"
        )
        spent = " | ".join(
            f"{one[what]['seconds']:.0f} s, {one[what]['peak_gib']:.1f} GiB"
            for what in ("prepare", "batches", "pandas")
        )
        lines.append(f"| `{name}`: {size} | {one['csv_bytes'] / 1e9:.1f} GB | {spent} |")
    return "\n".join(lines)


def write(page: Path = README) -> Path:
    """Rewrites the page's blocks."""
    page.write_text(filled(page.read_text(encoding="utf-8"), blocks()), encoding="utf-8")
    return page
