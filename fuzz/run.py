"""Fuzz the targets: `python fuzz/run.py --examples 10000 pdu scanner`, without names all of them.

Hypothesis changes valid inputs, and shows the smallest one that breaks an invariant.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent))  # if this file is run directly

from fuzz.targets import TARGETS, Target


@st.composite
def changed(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """One of `seeds` with a few pieces replaced, removed or added."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from([0, 1, 4, 1000])))))
        data = data[:start] + draw(st.binary(max_size=8)) + data[end:]
    return data


def fuzz(target: Target, examples: int) -> None:
    """Check a target with this many inputs. Raises the target's error for the smallest failing one that was found."""
    inputs = st.one_of(changed(target.seeds), st.binary(max_size=300))
    options = settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    options(given(inputs)(target.check))()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--examples", type=int, default=10_000, help="inputs for each target")
    arguments = parser.parse_args()
    for name in arguments.targets or TARGETS:
        print(f"{name}: {TARGETS[name].check.__doc__}", flush=True)
        fuzz(TARGETS[name], arguments.examples)


if __name__ == "__main__":
    main()
