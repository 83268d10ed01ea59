"""``conure`` as a campaign runs it: the same commands on fewer experiments, worlds and notebooks.

Needs ``world`` on PYTHONPATH. Each stage that is computed is a line in the file FAULTS_LOG: its id and the number
of the process. FAULTS_NOTEBOOKS names the notebooks, separated by commas.
"""

import os
import sys

from conure_lib import cli
from conure_lib.cli import studies
from conure_lib.pipeline import stage as stages
from conure_lib.study import experiments, notebooks

EXPERIMENTS = ("baselines", "overparameterization")
WORLDS = ("noise",)

write, shelf = stages._write, notebooks.all_notebooks


def written(stage, *arguments):
    write(stage, *arguments)
    with open(os.environ["FAULTS_LOG"], "a", encoding="utf-8") as log:
        log.write(f"{stage.id} {os.getpid()}\n")


def chosen():
    return [
        notebook
        for notebook in shelf()
        if notebook.stem in os.environ["FAULTS_NOTEBOOKS"].split(",")
    ]


stages._write = written
notebooks.all_notebooks = chosen
studies.EXPERIMENTS = {name: experiments.EXPERIMENTS[name] for name in EXPERIMENTS}
experiments._DIALS = {name: experiments._DIALS[name] for name in WORLDS}

if __name__ == "__main__":
    sys.exit(cli.main())
