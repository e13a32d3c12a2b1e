from typing import Any, TypeVar

import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_ordergrad.common.groups import cached_lstatistic
from sb3_ordergrad.common.on_policy import OrderMixin
from sb3_ordergrad.lstatistics import ObjectiveLike, parse_objective

SelfOrderPPO = TypeVar("SelfOrderPPO", bound="OrderPPO")


class OrderPPO(OrderMixin, PPO):
    """
    PPO that maximises an L-statistic of episode returns (CVaR, VaR, median, max@K, ...) in place of their mean.

    For K episodes drawn from a group, with returns R_(1) <= ... <= R_(K), the objective is
    ``J = E[sum_j rank_weights[j] * R_(j)]``. Pseudo-rewards that sum to each episode's influence on J replace
    the rewards; PPO's own advantages, critic and update run on those.
    ``objective="mean"`` (with any credit but ``"terminal"``) is PPO, bit for bit.

    Paper: OrderGrad, https://arxiv.org/abs/2606.06096; PPO, https://arxiv.org/abs/1707.06347
    Code: the update is that of stable_baselines3.PPO

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, ...)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: The learning rate, it can be a function
        of the current progress remaining (from 1 to 0)
    :param n_steps: The number of steps to run for each environment per update
        (i.e. rollout buffer size is n_steps * n_envs where n_envs is number of environment copies running in parallel)
        NOTE: n_steps * n_envs must be greater than 1 (because of the advantage normalization)
        See https://github.com/pytorch/pytorch/issues/29372
    :param batch_size: Minibatch size
    :param n_epochs: Number of epoch when optimizing the surrogate loss
    :param gamma: Discount factor. ``None`` is SB3's 0.99, and 1 with ``credit="terminal"``: otherwise the early steps of
        an episode would hardly see its only pseudo-reward
    :param gae_lambda: Factor for trade-off of bias vs variance for Generalized Advantage Estimator.
        ``None`` is SB3's 0.95 for the mean and for ``credit="terminal"``, and 0.9 otherwise: a rare loss, with the large
        weight of a tail objective, adds noise to the advantages of all earlier steps that it reaches
    :param clip_range: Clipping parameter, it can be a function of the current progress
        remaining (from 1 to 0).
    :param clip_range_vf: Clipping parameter for the value function,
        it can be a function of the current progress remaining (from 1 to 0).
        This is a parameter specific to the OpenAI implementation. If None is passed (default),
        no clipping will be done on the value function.
        IMPORTANT: this clipping depends on the reward scaling.
    :param normalize_advantage: Whether to normalize or not the advantage
    :param ent_coef: Entropy coefficient for the loss calculation
    :param vf_coef: Value function coefficient for the loss calculation
    :param max_grad_norm: The maximum value for the gradient clipping
    :param use_sde: Whether to use generalized State Dependent Exploration (gSDE)
        instead of action noise exploration (default: False)
    :param sde_sample_freq: Sample a new noise matrix every n steps when using gSDE
        Default: -1 (only sample at the beginning of the rollout)
    :param rollout_buffer_class: Rollout buffer class to use. If ``None``, it will be automatically selected.
    :param rollout_buffer_kwargs: Keyword arguments to pass to the rollout buffer on creation
    :param target_kl: Limit the KL divergence between updates,
        because the clipping is not enough to prevent large update
        see issue #213 (cf https://github.com/hill-a/stable-baselines/issues/213)
        By default, there is no limit on the kl div.
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation.
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param objective: What to maximise over the returns of a group of episodes: ``"mean"``, ``"cvar:0.25"``, ``"max"``,
        ``"median"``, ``"mean - 0.5*gini"``, a vector of ``k`` ascending rank weights, ...
        (all spellings: ``docs/reference/objectives.md``)
    :param k: Sample size K of the objective, ``1 <= k < group_size``: the rank weights apply to K episodes
        drawn from the group without replacement. ``None`` is 16, or as many that 4 episodes are in the tail of the
        objective (80 for ``"cvar:0.05"``), or the number of given rank weights
    :param group_size: Number N of episodes that are compared: those that ended in the rollout, topped up with the most recent
        earlier ones. If more end in a rollout, all of them are compared. ``None`` is twice ``k``
    :param credit: How the transformed return is distributed over the steps of an episode: ``"projected"``, the change of what
        the episode is expected to return, ``"dense"``, the change of what it has collected, or ``"terminal"``, all at the last
        step
    :param anneal: Fraction of training, between 0 and 1, over which the objective moves from ``anneal_from`` to ``objective``
        (soft risk); 0 starts with ``objective``. ``None`` is 0, except for an objective of the lower returns (``"cvar:0.25"``,
        ``"var:0.1"``, ``"min"``): then it starts with a fifth of ``objective`` and moves on after 0.3 of training, whenever
        ``objective`` does not improve
    :param anneal_from: The objective at the start of annealing. Two levels of one family (``"cvar:0.6"`` and
        ``"cvar:0.05"``) are interpolated, other pairs are mixed
    :param group_by: Compare only episodes whose last ``info`` has the same value under this key; ``None`` compares all
    :param value_scale: Standard deviation of the discounted sums of pseudo-rewards after scaling by a running estimate, and so
        the size of the critic's targets, whatever the scale of the rewards
    :param smooth_rare_losses: Replace rare, large losses among the rewards by their learned mean given observation and
        action, so that a step is charged for the risk that it takes and not for bad luck (not with ``credit="terminal"``)
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    """

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        n_steps: int = 2048,
        batch_size: int = 64,
        n_epochs: int = 10,
        gamma: float | None = None,
        gae_lambda: float | None = None,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        target_kl: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        objective: ObjectiveLike = "cvar:0.25",
        k: float | None = None,
        group_size: int | None = None,
        credit: str = "projected",
        anneal: float | None = None,
        anneal_from: ObjectiveLike = "mean",
        group_by: str | None = None,
        value_scale: float = 1.0,
        smooth_rare_losses: bool = True,
        _init_setup_model: bool = True,
    ):
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            batch_size=batch_size,
            n_epochs=n_epochs,
            clip_range=clip_range,
            clip_range_vf=clip_range_vf,
            normalize_advantage=normalize_advantage,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            rollout_buffer_class=rollout_buffer_class,
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            target_kl=target_kl,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        # None stands for a default that depends on the parameters below
        self.gamma = gamma
        self.gae_lambda = gae_lambda
        self.objective = objective
        self.k = k
        self.group_size = group_size
        self.credit = credit
        self.anneal = anneal
        self.anneal_from = anneal_from
        self.group_by = group_by
        self.value_scale = value_scale
        self.smooth_rare_losses = smooth_rare_losses

        if _init_setup_model:
            self._setup_model()

    @property
    def gae_lambda(self) -> float:
        """Lambda of the advantages: the given one, or for ``None`` the default (evidence: docs/results.md)."""
        given = self.__dict__["gae_lambda"]
        if given is not None:
            return given
        is_mean = cached_lstatistic(self.group_size, self.k, parse_objective(self.objective)).is_mean
        return 0.95 if is_mean or self.credit == "terminal" else 0.9

    @gae_lambda.setter
    def gae_lambda(self, value: float | None) -> None:
        self.__dict__["gae_lambda"] = value

    def learn(
        self: SelfOrderPPO,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "OrderPPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfOrderPPO:
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )
