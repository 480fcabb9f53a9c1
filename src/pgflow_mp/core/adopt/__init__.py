"""Take over a schema pgflow that another core of the family made: make it ours, with everything that is in it.

Afterwards the schema is what a fresh install makes (generations 9): workers of every generation work on it at once.
What a fresh install makes is drawn beside it and taken back (`blueprint`), both are read from the catalog (`catalog`),
and the plan is what lies between them (`changes`), unless something is in the way (`obstacles`).
"""

from pgflow_mp.core.adopt.adopting import PATIENCE, adopt
from pgflow_mp.core.adopt.plan import Change, Plan

__all__ = ["PATIENCE", "Change", "Plan", "adopt"]
