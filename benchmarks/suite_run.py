"""
One run of the risk suite: train, then evaluate the last and the best policy. ``benchmarks/suite.py`` starts it in a process of
its own. Files of a run, ``record.json`` last:

- ``returns.npz``: float32 returns and int32 lengths of fresh episodes: ``sampled`` and ``mode`` of the last policy, ``best``
  of the policy with the best CVaR during training, with sampled actions
- ``model.zip``, ``best_model.zip`` and, where the settings normalise, ``vecnormalize.pkl`` and ``best_vecnormalize.pkl``
- ``evaluations.npz``: of ``ObjectiveEvalCallback``
"""

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch as th
from references import levels
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from suite_plan import Run

import sb3_ordergrad.envs  # noqa: F401  (registers the environments)
from sb3_ordergrad.common import files
from sb3_ordergrad.compare import settings
from sb3_ordergrad.evaluation import ObjectiveEvalCallback, ReturnDistribution, cvar, evaluate_distribution, normalized_scores

N_EVAL_ENVS = 50
N_EVALUATIONS = 10
# Of the best policy, and of a trial of the search
FEW_EPISODES = 400
# Seeds of evaluations, which no training has
EVALUATION_SEED = 1_000_000
# Between the seeds of the environments of two training seeds
SEED_STRIDE = 10_000


def is_done(run: Run, out: Path) -> bool:
    """Whether the record of the run is there and is its own."""
    record = files.read_json(run.folder(out) / "record.json")
    return record is not None and record["run"] == json.loads(json.dumps(asdict(run)))


def read_returns(run: Run, out: Path) -> dict[str, np.ndarray]:
    """Returns of a finished run: ``sampled``, ``mode`` and ``best``, shape (n_episodes,) each."""
    with np.load(run.folder(out) / "returns.npz") as arrays:
        return {name: arrays[name].astype(np.float64) for name in arrays.files if not name.endswith("_lengths")}


def score(run: Run, out: Path) -> tuple[np.ndarray, float, float]:
    """
    :param run: a finished run
    :param out: folder of the results
    :return: returns of the last policy with sampled actions, shape (n_episodes,), their CVaR at the level of the task, and
        the normalised CVaR, clipped to [-1, 1.5]
    """
    returns = read_returns(run, out)["sampled"]
    value = float(cvar(returns, run.level))
    normalised = float(normalized_scores(value, *levels(run.env_id, run.level)))
    return returns, value, float(np.clip(normalised, -1.0, 1.5))


def make_eval_env(run: Run, n_envs: int, seed: int, normalize: Path | None = None) -> VecEnv:
    """
    :param run: the run
    :param n_envs: number of environments
    :param seed: of the first
    :param normalize: statistics of the observations; ``None`` for those of no observation
    :return: environments of the task, with raw rewards
    """
    env = settings.make_env(run.env_id, run.settings, n_envs, seed)
    kwargs = settings.normalize_kwargs(run.settings)
    if kwargs is None:
        return env
    normalized = VecNormalize(env, **kwargs) if normalize is None else VecNormalize.load(str(normalize), env)
    normalized.training, normalized.norm_reward = False, False
    return normalized


def evaluate(run: Run, folder: Path, prefix: str, n_episodes: int, deterministic: bool, seed: int) -> ReturnDistribution:
    """
    :param run: the run
    :param folder: its folder
    :param prefix: "" for the last policy, "best_" for the best
    :param n_episodes: number of episodes
    :param deterministic: the mode of the policy
    :param seed: of the episodes
    :return: their returns
    """
    env = make_eval_env(run, min(N_EVAL_ENVS, n_episodes), seed, folder / f"{prefix}vecnormalize.pkl")
    model: BaseAlgorithm = settings.load_class(run.path).load(folder / f"{prefix}model.zip", device="cpu")
    try:
        return evaluate_distribution(model, env, n_episodes, deterministic, seed)
    finally:
        env.close()


def execute(run: Run, out: Path) -> None:
    """
    Train and evaluate.

    :param run: the run
    :param out: folder of the results
    """
    th.set_num_threads(1)
    folder = run.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").unlink(missing_ok=True)
    (folder / "evaluations.npz").unlink(missing_ok=True)
    start = time.monotonic()
    train_settings = {**run.settings, "env_kwargs": {**(run.settings.get("env_kwargs") or {}), **run.env_kwargs}}
    model, normalize = settings.make_model(settings.load_class(run.path), run.env_id, train_settings, run.seed)
    model.set_logger(configure(None, []))
    n_envs, env = model.n_envs, model.get_env()
    assert env is not None
    # Environment i of seed s would otherwise be environment i + 1 of seed s - 1
    env.seed(SEED_STRIDE * run.seed)
    callback = None
    if run.episodes > 0:
        eval_seed = EVALUATION_SEED + SEED_STRIDE * run.seed
        callback = ObjectiveEvalCallback(
            make_eval_env(run, min(16, run.eval_episodes), eval_seed),
            n_eval_episodes=run.eval_episodes,
            eval_freq=max(run.steps // N_EVALUATIONS // n_envs, 1),
            log_path=str(folder),
            best_model_save_path=str(folder / "best"),
            deterministic=False,
            verbose=0,
            objective=f"cvar:{run.level:g}",
        )
    model.learn(run.steps, callback=callback)
    model.save(folder / "model.zip")
    if normalize is not None:
        normalize.save(str(folder / "vecnormalize.pkl"))
    env.close()
    if callback is not None:
        callback.eval_env.close()
        for name in ("model.zip", "vecnormalize.pkl"):
            source = folder / "best" / ("best_model.zip" if name == "model.zip" else name)
            if source.exists():
                os.replace(source, folder / f"best_{name}")
        (folder / "best").rmdir()
    trained = time.monotonic()

    seed = EVALUATION_SEED + SEED_STRIDE * run.seed + SEED_STRIDE // 2
    parts = {"sampled": ("", run.episodes or FEW_EPISODES, False)}
    if callback is not None:
        parts |= {"mode": ("", run.episodes, True), "best": ("best_", FEW_EPISODES, False)}
    arrays: dict[str, np.ndarray] = {}
    for name, (prefix, n_episodes, deterministic) in parts.items():
        distribution = evaluate(run, folder, prefix, n_episodes, deterministic, seed)
        arrays[name] = distribution.returns.astype(np.float32)
        arrays[f"{name}_lengths"] = distribution.lengths.astype(np.int32)
    with files.replacing(folder / "returns.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
    record = {
        "run": asdict(run),
        "timesteps": model.num_timesteps,
        "cvar": {name: float(cvar(arrays[name].astype(np.float64), run.level)) for name in parts},
        "mean": {name: float(arrays[name].mean(dtype=np.float64)) for name in parts},
        "seconds_training": round(trained - start, 1),
        "seconds_evaluation": round(time.monotonic() - trained, 1),
        "commit": files.git_commit(),
        "versions": files.package_versions(),
        "machine": files.machine(),
    }
    files.write_json(folder / "record.json", record)


def execute_in_process(run: Run, out: Path) -> str | None:
    """
    Execute a run in a separate process, so that a crash ends only this run.

    :param run: the run
    :param out: folder of the results
    :return: why it failed, or ``None``
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, __file__, json.dumps(asdict(run)), str(out.resolve())]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stderr is not None
        # The input stays open as long as somebody waits for the process
        error = process.stderr.read()
        status = process.wait()
    return None if status == 0 else f"{run.env_id}, {run.method}, seed {run.seed}: exit status {status}\n{error[-3000:]}"


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def main() -> int:
    """Execute the run of the command line; the end of the input ends the process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        execute(Run(**json.loads(sys.argv[1])), Path(sys.argv[2]))
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
