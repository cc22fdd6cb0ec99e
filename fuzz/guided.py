"""Fuzz the targets guided by coverage: `python fuzz/guided.py --seconds 60 acceptor scanner`, without names all.

Needs atheris (`pip install --group fuzz`; Linux only). Each target runs in a process of its own. Inputs that reach new
code are kept in build/fuzz/TARGET, where the next run begins; one that breaks an invariant as TARGET-crash-* beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # if this file is run directly

LONGEST: Final = 4096
"""The longest input in bytes."""


def fuzz_here(name: str, options: list[str]) -> None:
    """Fuzz a target in this process, which ends with it; `options` are libFuzzer's."""
    import atheris

    with atheris.instrument_imports(include=["dimse"]):
        from fuzz.targets import TARGETS
    check = TARGETS[name].check

    def check_without_output(data: bytes) -> None:
        check(bytes(data))

    atheris.Setup([sys.argv[0], *options], check_without_output)
    atheris.Fuzz()


def fuzz(name: str, seeds: tuple[bytes, ...], limit: list[str], folder: Path) -> bool:
    """Fuzz a target in a process of its own up to a limit; whether its invariant held."""
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = [*limit, f"-max_len={LONGEST}", "-print_final_stats=1", f"-artifact_prefix={folder}/{name}-", str(corpus)]
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, __file__, "--here", name, *options], capture_output=True, text=True, check=False
    )
    figures = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
    covered = re.findall(r"cov: (\d+)", done.stderr)[-1:]
    count, a_second = figures.get("number_of_executed_units"), figures.get("average_exec_per_sec")
    print(f"{name}: {count} inputs, {a_second} a second, {', '.join(covered)} places reached", flush=True)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
    return done.returncode == 0


def main() -> int:
    if sys.argv[1:2] == ["--here"]:
        fuzz_here(sys.argv[2], sys.argv[3:])
    if find_spec("atheris") is None:
        print("guided fuzzing needs atheris, which there is for Linux: pip install --group fuzz", file=sys.stderr)
        return 2
    from fuzz.targets import TARGETS  # not before `fuzz_here`, which instruments what it imports

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=20, help="time for each target")
    parser.add_argument("--inputs", type=int, help="number of inputs for each target instead, the same each time")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz", help="where inputs are kept")
    arguments = parser.parse_args()
    limit = [f"-max_total_time={arguments.seconds}"]
    if arguments.inputs is not None:
        limit = [f"-runs={arguments.inputs}", "-seed=1"]
    names = arguments.targets or list(TARGETS)
    held = [fuzz(name, TARGETS[name].seeds, limit, arguments.folder) for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
