from typing import Any, TypeVar

import torch as th
from stable_baselines3 import A2C
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_ordergrad.common.on_policy import OrderMixin
from sb3_ordergrad.lstatistics import ObjectiveLike

SelfOrderA2C = TypeVar("SelfOrderA2C", bound="OrderA2C")


class OrderA2C(OrderMixin, A2C):
    """
    A2C that maximises an L-statistic of episode returns (CVaR, VaR, median, max@K, ...) in place of their mean.

    For K episodes drawn from a group, with returns R_(1) <= ... <= R_(K), the objective is
    ``J = E[sum_j rank_weights[j] * R_(j)]``. Pseudo-rewards that sum to each episode's influence on J replace
    the rewards; A2C's own advantages, critic and update run on those.
    ``objective="mean"`` (with any credit but ``"terminal"``) is A2C, bit for bit.

    Paper: OrderGrad, https://arxiv.org/abs/2606.06096; A2C, https://arxiv.org/abs/1602.01783
    Code: the update is that of stable_baselines3.A2C

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, ...)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: The learning rate, it can be a function
        of the current progress remaining (from 1 to 0)
    :param n_steps: The number of steps to run for each environment per update
        (i.e. batch size is n_steps * n_env where n_env is number of environment copies running in parallel)
    :param gamma: Discount factor. ``None`` is SB3's 0.99, and 1 with ``credit="terminal"``: otherwise the early steps of
        an episode would hardly see its only pseudo-reward
    :param gae_lambda: Factor for trade-off of bias vs variance for Generalized Advantage Estimator.
        Equivalent to classic advantage when set to 1.
    :param ent_coef: Entropy coefficient for the loss calculation
    :param vf_coef: Value function coefficient for the loss calculation
    :param max_grad_norm: The maximum value for the gradient clipping
    :param rms_prop_eps: RMSProp epsilon. It stabilizes square root computation in denominator
        of RMSProp update
    :param use_rms_prop: Whether to use RMSprop (default) or Adam as optimizer
    :param use_sde: Whether to use generalized State Dependent Exploration (gSDE)
        instead of action noise exploration (default: False)
    :param sde_sample_freq: Sample a new noise matrix every n steps when using gSDE
        Default: -1 (only sample at the beginning of the rollout)
    :param rollout_buffer_class: Rollout buffer class to use. If ``None``, it will be automatically selected.
    :param rollout_buffer_kwargs: Keyword arguments to pass to the rollout buffer on creation.
    :param normalize_advantage: Whether to normalize or not the advantage
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
        learning_rate: float | Schedule = 7e-4,
        n_steps: int = 5,
        gamma: float | None = None,
        gae_lambda: float = 1.0,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        rms_prop_eps: float = 1e-5,
        use_rms_prop: bool = True,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        normalize_advantage: bool = False,
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
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            rms_prop_eps=rms_prop_eps,
            use_rms_prop=use_rms_prop,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            rollout_buffer_class=rollout_buffer_class,
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            normalize_advantage=normalize_advantage,
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

    def learn(
        self: SelfOrderA2C,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "OrderA2C",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfOrderA2C:
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )
