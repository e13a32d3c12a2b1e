"""Run evaluation episodes with any Stable-Baselines3 model."""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor, is_vecenv_wrapped, unwrap_vec_normalize
from tqdm import tqdm  # type: ignore[import-untyped]

from sb3_ordergrad.evaluation.argument_checks import check_count
from sb3_ordergrad.evaluation.distribution import ReturnDistribution


@contextmanager
def restored(owner: Any, *names: str) -> Iterator[None]:
    """Restore the attributes of ``owner`` on exit, if there is one."""
    before = {} if owner is None else {name: getattr(owner, name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def needs_action_masks(model: PolicyPredictor, env: VecEnv) -> bool:
    """
    Whether ``predict`` takes action masks, as that of sb3-contrib's ``MaskablePPO`` does; raise a ValueError if it does and
    the environment has none.
    """
    needs_masks = "action_masks" in inspect.signature(model.predict).parameters
    if needs_masks and not env.has_attr("action_masks"):
        raise ValueError(
            f"{type(model).__name__} takes action masks, but the evaluation environment has no method action_masks(): "
            "wrap it in sb3_contrib.common.wrappers.ActionMasker, as in training."
        )
    return needs_masks


class EvaluatedModel:
    """
    A model whose ``predict`` passes the action masks of ``MaskablePPO`` and redraws the noise of gSDE when an episode begins.

    SB3's ``predict`` does neither: with gSDE all episodes would share one draw of the noise. All other attributes are those of
    the model.

    :param model: anything with SB3's ``predict``
    :param env: the environment in which it is evaluated
    :raises ValueError: if the model takes action masks and the environment has none
    """

    def __init__(self, model: PolicyPredictor, env: VecEnv) -> None:
        self.model, self.env = model, env
        self.needs_masks = needs_action_masks(model, env)
        self.policy: Any = getattr(model, "policy", model)
        # Off-policy algorithms keep the distribution in the actor
        distribution = getattr(getattr(self.policy, "actor", self.policy), "action_dist", None)
        self.noise = distribution if isinstance(distribution, StateDependentNoiseDistribution) else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def predict(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False) -> Any:
        if self.noise is not None and not deterministic and np.any(episode_start):
            self.policy.reset_noise(self.env.num_envs)
        kwargs = {"state": state, "episode_start": episode_start, "deterministic": deterministic}
        if self.needs_masks:
            kwargs["action_masks"] = np.stack(self.env.env_method("action_masks"))
        return self.model.predict(observation, **kwargs)

    def restored_noise(self) -> AbstractContextManager[None]:
        """Restore the noise of gSDE on exit, so that a training that evaluates in a callback continues with its own."""
        return restored(self.noise, "exploration_mat", "exploration_matrices")


def evaluate_distribution(
    model: PolicyPredictor,
    env: gym.Env | VecEnv,
    n_eval_episodes: int = 400,
    deterministic: bool = False,
    seed: int | None = None,
    progress_bar: bool = False,
) -> ReturnDistribution:
    """
    Run complete episodes and collect their raw returns.

    Each environment of a vector runs a fixed number of episodes, so that short episodes are not over-represented.
    Under ``Monitor`` or ``VecMonitor`` the returns are the monitor's (6 decimals), otherwise sums of the rewards of ``env``,
    without the normalization of a ``VecNormalize``, whose statistics do not change. Action masks are passed to
    sb3-contrib's ``MaskablePPO``. With gSDE the exploration noise is redrawn when an episode begins, and restored at the end.

    :param model: anything with SB3's ``predict``, e.g. an algorithm or a policy
    :param env: the environment; it is reset
    :param n_eval_episodes: number of episodes
    :param deterministic: use the mode of the policy instead of sampled actions
    :param seed: seed of the environments and of the sampled actions (except DQN's random actions, which use NumPy's global
        generator); the state of torch's generator is restored. Without a seed, sampled actions use torch's global generator,
        as in SB3's ``evaluate_policy``
    :param progress_bar: show the number of finished episodes with tqdm
    :return: returns and lengths, ordered by environment, then by time
    :raises ValueError: if ``n_eval_episodes`` is not a whole number >= 1, a return is not finite, or a model that takes action
        masks is evaluated in an environment without them
    """
    n_eval_episodes = check_count("n_eval_episodes", n_eval_episodes)
    if not isinstance(env, VecEnv):
        single_env = env
        env = DummyVecEnv([lambda: single_env])
    evaluated = EvaluatedModel(model, env)
    vec_normalize = unwrap_vec_normalize(env)
    restored_normalization = restored(vec_normalize, "training", "norm_reward")
    with restored_normalization, evaluated.restored_noise(), th.random.fork_rng(enabled=seed is not None):
        if vec_normalize is not None:
            vec_normalize.training = vec_normalize.norm_reward = False
        if seed is not None:
            th.manual_seed(seed)
            env.seed(seed)
        episodes = _run_episodes(evaluated, env, n_eval_episodes, deterministic, progress_bar)
    returns, lengths = zip(*(episode for per_env in episodes for episode in per_env), strict=True)
    return ReturnDistribution(np.array(returns, dtype=np.float64), np.array(lengths, dtype=np.int64))


def _run_episodes(
    model: PolicyPredictor, env: VecEnv, n_episodes: int, deterministic: bool, progress_bar: bool
) -> list[list[tuple[float, int]]]:
    """(return, length) of the first finished episodes of each environment."""
    n_envs = env.num_envs
    quotas = [(n_episodes + i) // n_envs for i in range(n_envs)]
    episodes: list[list[tuple[float, int]]] = [[] for _ in range(n_envs)]
    monitored = is_vecenv_wrapped(env, VecMonitor) or all(env.env_is_wrapped(Monitor))
    sums, lengths = np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64)
    obs: Any = env.reset()
    states: Any = None
    episode_starts = np.ones(n_envs, dtype=bool)
    with tqdm(total=n_episodes, unit="episode", disable=not progress_bar) as bar:
        while any(len(done) < quota for done, quota in zip(episodes, quotas, strict=True)):
            actions, states = model.predict(obs, state=states, episode_start=episode_starts, deterministic=deterministic)
            obs, rewards, episode_starts, infos = env.step(actions)
            sums += rewards
            lengths += 1
            for i in np.flatnonzero(episode_starts):
                # Some wrappers end an episode early (a lost life): under a monitor only its record counts
                record = infos[i].get("episode") if monitored else {"r": sums[i], "l": lengths[i]}
                if record is not None and len(episodes[i]) < quotas[i]:
                    episodes[i].append((float(record["r"]), int(record["l"])))
                    bar.update()
                sums[i], lengths[i] = 0.0, 0
    return episodes
