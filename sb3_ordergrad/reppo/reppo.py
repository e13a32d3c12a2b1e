from typing import Any, ClassVar, TypeVar

import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_ordergrad.common.callbacks import put_first
from sb3_ordergrad.common.observations import rollout_observations
from sb3_ordergrad.lstatistics import ObjectiveLike, exact_lstatistic
from sb3_ordergrad.reppo.advantages import retry_advantages
from sb3_ordergrad.reppo.policies import ActorQCriticPolicy, CnnPolicy, MlpPolicy, MultiInputPolicy

SelfRePPO = TypeVar("SelfRePPO", bound="RePPO")

# Observations that the networks process at once after a rollout: images are large
CHUNK_SIZE = 1024


class RePPO(PPO):
    """
    PPO whose actor maximises an L-statistic of the Q-values of k actions per state (max@k, CVaR, ...), for discrete actions.

    The critic estimates ``q(s, a)`` for all actions, and ``V(s) = sum_a pi(a | s) q(s, a)``. GAE on V gives the target
    ``y = GAE + V(s)`` of ``q(s, a)``. The objective in a state is the L-statistic of the values of k actions drawn from
    ``pi(. | s)``, where y is the value of the action taken and q that of the others; the advantage is the exact one
    (:func:`~sb3_ordergrad.reppo.advantages.retry_advantages`).
    With ``objective="max"`` and k > 1, the expected best of k tries, the policy stays stochastic without an entropy bonus.
    With ``k=1``, or ``objective="mean"``, this is PPO with a Q-function as baseline.

    Paper: RePPO, https://arxiv.org/abs/2606.00151; PPO, https://arxiv.org/abs/1707.06347
    Code: the rollout and the update are those of stable_baselines3.PPO

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
    :param gamma: Discount factor
    :param gae_lambda: Factor for trade-off of bias vs variance for Generalized Advantage Estimator. The default is that of the
        publication, PPO's is 0.95
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
    :param use_sde: Must be False: gSDE needs continuous actions
    :param sde_sample_freq: Has no effect with discrete actions
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
    :param objective: L-statistic of the Q-values of k actions to maximise: ``"max"``, ``"cvar:0.5"``, a vector of ``floor(k)``
        rank weights in ascending order, ... (all spellings: ``docs/reference/objectives.md``)
    :param k: Number of actions, a real number > 0: for ``"max"``, the best of them has the distribution function ``F^k``
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    """

    policy: ActorQCriticPolicy
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }

    def __init__(
        self,
        policy: str | type[ActorQCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        n_steps: int = 2048,
        batch_size: int = 64,
        n_epochs: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.8,
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
        objective: ObjectiveLike = "max",
        k: float = 1.2,
        _init_setup_model: bool = True,
    ):
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            batch_size=batch_size,
            n_epochs=n_epochs,
            gamma=gamma,
            gae_lambda=gae_lambda,
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
        self.objective = objective
        self.k = k

        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._check_parameters()
        super()._setup_model()

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        # Attributes may have been changed since the model was created
        self._check_parameters()
        return super()._setup_learn(*args, **kwargs)

    def _check_parameters(self) -> None:
        """
        :raises ValueError: if the action space or the policy is not supported, or ``k`` or ``objective`` is invalid
        """
        if not isinstance(self.action_space, spaces.Discrete):
            raise ValueError(
                f"action_space={self.action_space} must be Discrete: the critic has one output per action. "
                "Use OrderPPO, or ReMAC for continuous actions."
            )
        if not issubclass(self.policy_class, ActorQCriticPolicy):
            raise ValueError(
                f"policy={self.policy_class.__name__} must be 'MlpPolicy', 'CnnPolicy', 'MultiInputPolicy' or a subclass of "
                "sb3_ordergrad.reppo.policies.ActorQCriticPolicy, which has one Q-value per action."
            )
        # Raises the errors of both
        exact_lstatistic([0.0], [1.0], self.k, self.objective)

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        return super()._init_callback(put_first(_WriteAdvantages(), callback), progress_bar)

    @th.no_grad()
    def _write_advantages(self) -> None:
        """
        Replace the advantages in the rollout buffer by those of k actions per state, and V(s) by q(s, a), from which
        ``clip_range_vf`` and the explained variance are computed. SB3 has already computed the targets ``GAE + V``.
        """
        buffer = self.rollout_buffer
        actions = th.as_tensor(buffer.actions, device=self.device).long().reshape(-1, 1)
        targets = th.as_tensor(buffer.returns, device=self.device).reshape(-1, 1)
        advantages, values, stds = [], [], []
        for start in range(0, len(actions), CHUNK_SIZE):
            rows = slice(start, start + CHUNK_SIZE)
            q_values, distribution = self.policy.q_values_and_distribution(rollout_observations(buffer, rows, self.device))
            probs = distribution.distribution.probs
            advantages.append(retry_advantages(q_values, probs, actions[rows], targets[rows], self.k, self.objective))
            values.append(q_values.gather(1, actions[rows]))
            deviations = q_values - (probs * q_values).sum(dim=1, keepdim=True)
            stds.append((probs * deviations**2).sum(dim=1).sqrt())
        buffer.advantages[:] = th.cat(advantages).cpu().numpy().reshape(buffer.advantages.shape)
        buffer.values[:] = th.cat(values).cpu().numpy().reshape(buffer.values.shape)
        self.logger.record("train/q_std", th.cat(stds).mean().item())

    def learn(
        self: SelfRePPO,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "RePPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfRePPO:
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )


class _WriteAdvantages(BaseCallback):
    """Write RePPO's advantages into the rollout buffer at the end of a rollout."""

    model: RePPO

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.model._write_advantages()
