"""Play evaluation episodes with any Stable-Baselines3 model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor, is_vecenv_wrapped, unwrap_vec_normalize
from tqdm import tqdm  # type: ignore[import-untyped]

from sb3_ordergrad.evaluation.distribution import ReturnDistribution


@contextmanager
def _frozen_normalization(env: VecEnv) -> Iterator[None]:
    """Neither update the running statistics of a ``VecNormalize`` nor normalise its rewards; restore both on leaving."""
    vec_normalize = unwrap_vec_normalize(env)
    if vec_normalize is None:
        yield
        return
    before = vec_normalize.training, vec_normalize.norm_reward
    vec_normalize.training, vec_normalize.norm_reward = False, False
    try:
        yield
    finally:
        vec_normalize.training, vec_normalize.norm_reward = before


def evaluate_distribution(
    model: PolicyPredictor,
    env: gym.Env | VecEnv,
    n_eval_episodes: int = 400,
    deterministic: bool = False,
    seed: int | None = None,
    progress_bar: bool = False,
) -> ReturnDistribution:
    """
    Play whole episodes and collect their raw returns.

    Every environment of a vector plays a number of episodes fixed beforehand, so short episodes are not favoured.
    Under ``Monitor`` or ``VecMonitor`` the returns are the monitor's (6 decimals), otherwise sums of the rewards that
    ``env`` gives; those of a ``VecNormalize`` are never normalised, and its statistics stay as they are.

    :param model: anything with SB3's ``predict``
    :param env: the environment; it is reset
    :param n_eval_episodes: number of episodes
    :param deterministic: play the mode of the policy; by default its samples, since that is what was trained
    :param seed: seed of the environments and of the sampled actions (not of the random actions of DQN's exploration, which
        come from NumPy's global generator); the global state of torch's generator is restored
    :param progress_bar: show the finished episodes with tqdm
    :return: returns and lengths, ordered by environment, then by time
    :raises ValueError: if ``n_eval_episodes`` is below 1, or a return is not finite
    """
    if n_eval_episodes < 1:
        raise ValueError(f"n_eval_episodes = {n_eval_episodes} must be at least 1: ask for one episode or more.")
    if not isinstance(env, VecEnv):
        single_env = env
        env = DummyVecEnv([lambda: single_env])
    with _frozen_normalization(env), th.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            th.manual_seed(seed)
            env.seed(seed)
        episodes = _play(model, env, n_eval_episodes, deterministic, progress_bar)
    returns, lengths = zip(*(episode for per_env in episodes for episode in per_env), strict=True)
    return ReturnDistribution(np.array(returns, dtype=np.float64), np.array(lengths, dtype=np.int64))


def _play(
    model: PolicyPredictor, env: VecEnv, n_episodes: int, deterministic: bool, progress_bar: bool
) -> list[list[tuple[float, int]]]:
    """(return, length) of each finished episode, for each environment up to its quota."""
    n_envs = env.num_envs
    quotas = [(n_episodes + i) // n_envs for i in range(n_envs)]
    episodes: list[list[tuple[float, int]]] = [[] for _ in range(n_envs)]
    monitored = is_vecenv_wrapped(env, VecMonitor) or all(env.env_is_wrapped(Monitor))
    sums, lengths = np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64)
    obs: Any = env.reset()
    states: Any = None
    episode_starts = np.ones(n_envs, dtype=bool)
    # SB3's predict never redraws the noise of gSDE: all episodes would share a single draw
    redraw_noise = getattr(model, "use_sde", False) and not deterministic
    with tqdm(total=n_episodes, unit="episode", disable=not progress_bar) as bar:
        while any(len(done) < quota for done, quota in zip(episodes, quotas, strict=True)):
            if redraw_noise and episode_starts.any():
                model.policy.reset_noise(n_envs)  # type: ignore[attr-defined]
            actions, states = model.predict(obs, state=states, episode_start=episode_starts, deterministic=deterministic)
            obs, rewards, episode_starts, infos = env.step(actions)
            sums += rewards
            lengths += 1
            for i in np.flatnonzero(episode_starts):
                # Some wrappers end an episode early (a lost life): under a monitor only its record is an episode
                record = infos[i].get("episode") if monitored else {"r": sums[i], "l": lengths[i]}
                if record is not None and len(episodes[i]) < quotas[i]:
                    episodes[i].append((float(record["r"]), int(record["l"])))
                    bar.update()
                sums[i], lengths[i] = 0.0, 0
    return episodes
