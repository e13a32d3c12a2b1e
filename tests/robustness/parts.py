"""What the parts of the attack share: numbered cases, limits on time and memory, and counts of what happened."""

import resource
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import numpy as np
import torch as th

# Beginnings of SB3's warnings that say what the case asks for: hindsight restarts with a new episode, and a loaded n-step
# buffer is already the one that `n_steps` chose
WARNINGS_OF_SB3 = ("The last trajectory in the replay buffer", r"`n_steps=\d+` is ignored because a custom")


class Part(NamedTuple):
    """
    A kind of attack: an endless list of cases, each made from its number alone.

    :param name: as the command line and the table call it
    :param describe: seed and number -> the case as text, enough to make it again by hand
    :param check: seed and number -> how often what happened, such as ``{"passed": 1}``; raises where the package fails
    :param sample: cases that ``make test`` tries
    """

    name: str
    describe: Callable[[int, int], str]
    check: Callable[[int, int], dict[str, int]]
    sample: int


class Failure(NamedTuple):
    """A case, ``name:number`` for ``attack.py --case``, its description, and what was raised, with the traceback."""

    case: str
    description: str
    error: str


@dataclass
class Result:
    """Counts of a part and its failures."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: "Result") -> None:
        self.counts.update(other.counts)
        self.failures.extend(other.failures)


def generator(seed: int, part: str, number: int) -> np.random.Generator:
    """The generator that draws the case, whatever was drawn before."""
    return np.random.default_rng([seed, number, *part.encode()])


def run_case(part: Part, seed: int, number: int) -> Result:
    """Its counts, or its failure."""
    th.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for beginning in WARNINGS_OF_SB3:
                warnings.filterwarnings("ignore", beginning)
            return Result(Counter({"tried": 1, **part.check(seed, number)}))
    except (Exception, LimitExceeded):
        description = part.describe(seed, number)
        failure = Failure(f"{part.name}:{number}", description, traceback.format_exc())
        return Result(Counter({"tried": 1, "failed": 1}), [failure])


class LimitExceeded(BaseException):
    """Not an ``Exception``: code that catches those must not hide it."""


@contextmanager
def limits(seconds: float, megabytes: int) -> Iterator[None]:
    """Stop what takes too much processor time or memory, before the machine suffers. The memory is limited on Linux alone."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise LimitExceeded(f"more than {seconds} s of processor time")

    sizes = Path("/proc/self/statm")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    previous = signal.signal(signal.SIGPROF, stop)
    try:
        if sizes.exists():
            present = int(sizes.read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (present + megabytes * 2**20, hard))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
