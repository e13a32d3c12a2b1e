"""What decides the outcome of a run."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunSpec:
    """
    Everything that decides the outcome of a run, and the folder of the results.

    :param algo: key of :data:`~sb3_ordergrad.compare.algorithms.ALGOS`
    :param env_id: the environment
    :param objective: the objective; ``mean`` for a baseline
    :param seed: seed of the training
    :param steps: environment steps of training
    :param settings: hyperparameters in RL Zoo's format, with all overrides
    :param n_eval_episodes: number of evaluation episodes after training
    :param deterministic: evaluate the mode of the policy instead of sampled actions
    :param out: folder of the results
    """

    algo: str
    env_id: str
    objective: str
    seed: int
    steps: int
    settings: dict[str, Any] = field(hash=False)
    n_eval_episodes: int = 400
    deterministic: bool = False
    out: str = "results"

    @property
    def training(self) -> dict[str, Any]:
        """What decides the trained policy, as JSON returns it."""
        names = ("algo", "env_id", "objective", "seed", "steps", "settings")
        return json.loads(json.dumps({name: getattr(self, name) for name in names}))

    @property
    def evaluation(self) -> dict[str, Any]:
        """What decides the evaluation of that policy."""
        return {"n_eval_episodes": self.n_eval_episodes, "deterministic": self.deterministic}

    @property
    def folder(self) -> Path:
        """``<out>/runs/<algo>-<env>-<objective>-s<seed>-<hash of what decides the training>``."""
        digest = hashlib.sha256(json.dumps(self.training, sort_keys=True).encode()).hexdigest()[:8]
        parts = (self.algo, self.env_id, self.objective)
        name = "-".join(re.sub(r"[^A-Za-z0-9.+-]+", "_", part) for part in parts)
        return Path(self.out) / "runs" / f"{name[:120]}-s{self.seed}-{digest}"
