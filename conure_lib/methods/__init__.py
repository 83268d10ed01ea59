"""The compared methods: a file per method with its record and its actions, registered here.

``method`` says what a method is, ``actions`` holds what their actions share.
"""

from conure_lib.methods import conure, peterrec
from conure_lib.methods.ewc import EWC
from conure_lib.methods.finesmax import FINESMAX
from conure_lib.methods.joint import JOINT
from conure_lib.methods.linear import LINEAR, LINEAR_T2, LINEAR_WINDOW
from conure_lib.methods.lwf import LWF
from conure_lib.methods.method import Method
from conure_lib.methods.mtl import MTL
from conure_lib.methods.popularity import GROUP_POPULARITY, POPULARITY
from conure_lib.methods.replay import REPLAY
from conure_lib.methods.sequential import SEQUENTIAL
from conure_lib.methods.sinmo import SINMO
from conure_lib.methods.stl import STL
from conure_lib.methods.teracon import TERACON

_FLOORS = (POPULARITY, GROUP_POPULARITY, LINEAR_WINDOW, LINEAR, LINEAR_T2)
_BASELINES = (SINMO, FINESMAX, MTL, STL, peterrec.PETERREC, peterrec.PETERREC_PARALLEL)
_LEARNERS = (SEQUENTIAL, EWC, LWF, REPLAY, JOINT, TERACON)
_CONURE = (conure.CONURE_MINUS, conure.NOT_RETRAINED, conure.CONURE)
_RECORDS = (*_FLOORS, *_BASELINES, *_LEARNERS, *_CONURE)
METHODS: dict[str, Method] = {method.name: method for method in _RECORDS}
"""Every method by name: floors, baselines, other continual learners, Conure."""
COMPARED = tuple(method.name for method in _RECORDS if method.compared)
"""The paper's methods and the floors; pruned and not retrained is a state, not a method."""
ACTIONS = {name: action for method in _RECORDS for name, action in method.actions.items()}
"""Every action by name: from a ``Context`` to an ``Outcome``."""
REVISIONS = {name: number for method in _RECORDS for name, number in method.revisions.items()}
"""Actions whose results a correction changed: in the ids of their stages, and in no others."""
FLOORS = tuple(method.name for method in _RECORDS if method.floor)
"""Methods without a network, which every network has to beat."""
FLOOR_ACTIONS = tuple(action for name in FLOORS for action in METHODS[name].actions)
CONTINUAL = (*(method.name for method in _LEARNERS), conure.CONURE.name)
"""Methods that go on with one network from task to task; Joint is their reference."""
