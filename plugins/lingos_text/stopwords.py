"""Common English words that carry no topic."""

from __future__ import annotations

_WORDS = """
    a about above after again against all also am an and any are as at be because been
    before being below between both but by can cannot could did do does doing down during
    each else even ever every few for from further get gets got had has have having he her
    here hers him his how however i if in into is it its itself just let like made make
    makes many may me might more most much must my no nor not now of off on once one only
    or other our out over own per quite rather same say says she should since so some such
    than that the their them then there these they this those through to too under until
    up upon us use used uses using very via was we well were what when where which while
    who whom whose why will with within without would yes yet you your
"""

STOPWORDS = frozenset(_WORDS.split())
