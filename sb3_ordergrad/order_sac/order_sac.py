from typing import Any, ClassVar, TypeVar

import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.sac.policies import SACPolicy

from sb3_ordergrad.common.groups import default_k
from sb3_ordergrad.lstatistics import ObjectiveLike, parse_objective, rank_weights
from sb3_ordergrad.order_sac.charged_rewards import ChargedRewards, restore_rewards
from sb3_ordergrad.order_sac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy

SelfOrderSAC = TypeVar("SelfOrderSAC", bound="OrderSAC")


class OrderSAC(SAC):
    """
    SAC that pays for the risk of rare, large losses what an L-statistic of the return loses by them.

    Where a robot breaks down once in hundreds of steps, a few steps decide the lower tail of its return. OrderSAC learns the
    expected loss of a step from those in the replay buffer, and replaces the losses among the rewards by a charge for it:
    ``1 / level`` times the expected loss for a CVaR, once for the mean (equations: :class:`ChargedRewards`). The critics, the
    actor and their updates are SAC's. Where no rewards stand out the algorithm is SAC, and other randomness of the return does
    not count: for that use OrderPPO. With ``objective="mean"`` it is SAC.

    Paper: SAC, https://arxiv.org/abs/1801.01290; the charge is an extension of this package
    Code: the networks, buffers and loops are those of stable_baselines3.SAC

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, ...)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate for adam optimizer,
        the same learning rate will be used for all networks (Q-Values, Actor and Value function)
        it can be a function of the current progress remaining (from 1 to 0)
    :param buffer_size: size of the replay buffer
    :param learning_starts: how many steps of the model to collect transitions for before learning starts
    :param batch_size: Minibatch size for each gradient update
    :param tau: the soft update coefficient ("Polyak update", between 0 and 1)
    :param gamma: the discount factor
    :param train_freq: Update the model every ``train_freq`` steps. Alternatively pass a tuple of frequency and unit
        like ``(5, "step")`` or ``(2, "episode")``.
    :param gradient_steps: How many gradient steps to do after each rollout (see ``train_freq``)
        Set to ``-1`` means to do as many gradient steps as steps done in the environment
        during the rollout.
    :param action_noise: the action noise type (None by default), this can help
        for hard exploration problem. Cf common.noise for the different action noise type.
    :param replay_buffer_class: Replay buffer class to use (for instance ``HerReplayBuffer``).
        If ``None``, it will be automatically selected.
    :param replay_buffer_kwargs: Keyword arguments to pass to the replay buffer on creation.
    :param optimize_memory_usage: Enable a memory efficient variant of the replay buffer
        at a cost of more complexity.
        See https://github.com/DLR-RM/stable-baselines3/issues/37#issuecomment-637501195
    :param n_steps: When n_step > 1, uses n-step return (with the NStepReplayBuffer) when updating the Q-value network.
        Note: it is only used when ``replay_buffer_class`` is ``None``, and is not supported for Dict
        observation spaces yet. When passing a custom ``replay_buffer_class``, configure it directly
        with ``replay_buffer_kwargs={"n_steps": ..., "gamma": ...}`` instead.
    :param ent_coef: Entropy regularization coefficient. (Equivalent to
        inverse of reward scale in the original SAC paper.)  Controlling exploration/exploitation trade-off.
        Set it to 'auto' to learn it automatically (and 'auto_0.1' for using 0.1 as initial value)
    :param target_update_interval: update the target network every ``target_network_update_freq``
        gradient steps.
    :param target_entropy: target entropy when learning ``ent_coef`` (``ent_coef = 'auto'``)
    :param use_sde: Whether to use generalized State Dependent Exploration (gSDE)
        instead of action noise exploration (default: False)
    :param sde_sample_freq: Sample a new noise matrix every n steps when using gSDE
        Default: -1 (only sample at the beginning of the rollout)
    :param use_sde_at_warmup: Whether to use gSDE instead of uniform sampling
        during the warm up phase (before learning starts)
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation. See :ref:`sac_policies`
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param objective: What to maximise over the returns of the episodes: ``"cvar:0.25"``, ``"mean"``, ``"min"``,
        ``"mean - 0.5*gini"``, a vector of ``k`` ascending rank weights, ... (all spellings: ``docs/reference/objectives.md``)
    :param k: Sample size K of the objective, a real number >= 1: the price of a loss is k times the lowest rank weight.
        ``None`` is 16, or as many that 4 episodes are in the tail of the objective (80 for ``"cvar:0.05"``), or the number of
        given rank weights
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }

    def __init__(
        self,
        policy: str | type[SACPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        buffer_size: int = 1_000_000,  # 1e6
        learning_starts: int = 100,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        action_noise: ActionNoise | None = None,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        ent_coef: str | float = "auto",
        target_update_interval: int = 1,
        target_entropy: str | float = "auto",
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        use_sde_at_warmup: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        objective: ObjectiveLike = "cvar:0.25",
        k: float | None = None,
        _init_setup_model: bool = True,
    ):
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            action_noise=action_noise,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=n_steps,
            ent_coef=ent_coef,
            target_update_interval=target_update_interval,
            target_entropy=target_entropy,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            use_sde_at_warmup=use_sde_at_warmup,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            # SB3 writes into it
            policy_kwargs=None if policy_kwargs is None else policy_kwargs.copy(),
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.objective = objective
        self.k = k

        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._check_parameters()
        super()._setup_model()
        if not hasattr(self, "_charged_rewards"):
            # saved with the model: a loaded model has them
            self._charged_rewards = ChargedRewards(self.n_envs)

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        # Attributes may have been changed since the model was created
        self._check_parameters()
        last_obs = self._last_obs
        result = super()._setup_learn(*args, **kwargs)
        if self._last_obs is not last_obs:
            # SB3 has reset the environments
            self._charged_rewards.restart(self.n_envs)
        assert self.replay_buffer is not None
        if self._is_mean:
            restore_rewards(self.replay_buffer)
            self._charged_rewards = ChargedRewards(self.n_envs)
        else:
            self._charged_rewards.update_prices(self.replay_buffer, parse_objective(self.objective), self._sample_size)
        return result

    @property
    def _sample_size(self) -> float:
        return default_k(parse_objective(self.objective)) if self.k is None else self.k

    @property
    def _is_mean(self) -> bool:
        return parse_objective(self.objective).is_mean(self._sample_size)

    def _check_parameters(self) -> None:
        """Raise a ValueError if k is out of its range, or if the objective is not defined for it."""
        rank_weights(self.objective, self._sample_size)

    def _store_transition(self, replay_buffer: ReplayBuffer, *args: Any) -> None:
        super()._store_transition(replay_buffer, *args)
        if not self._is_mean:
            _, _, _, dones, _ = args
            self._charged_rewards.store(replay_buffer, dones)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        super().train(gradient_steps, batch_size)
        self.logger.record("train/loss_weight", self._charged_rewards.loss_weight)
        self.logger.record("train/n_rare_losses", self._charged_rewards.n_losses)

    def learn(
        self: SelfOrderSAC,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "OrderSAC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfOrderSAC:
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )
