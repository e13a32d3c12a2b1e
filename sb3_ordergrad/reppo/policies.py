"""Actor-critic policies whose critic has one Q-value per action."""

from functools import partial

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn


class ActorQCriticPolicy(ActorCriticPolicy):
    """
    SB3's actor-critic policy for ``Discrete`` actions with a critic ``q(s, .)``.

    During the rollout, the value of a state is ``V(s) = sum_a pi(a | s) q(s, a)``. In the loss, it is ``q(s, a)`` of the
    action taken. The parameters are those of ``ActorCriticPolicy``.
    """

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        assert isinstance(self.action_space, spaces.Discrete)
        # SB3 creates a critic with a single output
        self.value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, int(self.action_space.n))
        if self.ortho_init:
            self.value_net.apply(partial(self.init_weights, gain=1))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def q_values_and_distribution(self, obs: PyTorchObs) -> tuple[th.Tensor, CategoricalDistribution]:
        """
        :param obs: Observation
        :return: Q-values of all actions, shape ``(batch_size, n_actions)``, and the action distribution
        """
        features = self.extract_features(obs)
        if self.share_features_extractor:
            latent_pi, latent_vf = self.mlp_extractor(features)
        else:
            pi_features, vf_features = features
            latent_pi = self.mlp_extractor.forward_actor(pi_features)
            latent_vf = self.mlp_extractor.forward_critic(vf_features)
        distribution = self._get_action_dist_from_latent(latent_pi)
        assert isinstance(distribution, CategoricalDistribution)
        return self.value_net(latent_vf), distribution

    def forward(self, obs: th.Tensor, deterministic: bool = False) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """
        :param obs: Observation
        :param deterministic: Whether to sample or use deterministic actions
        :return: action, ``V(s)`` and log probability of the action
        """
        q_values, distribution = self.q_values_and_distribution(obs)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, _state_values(q_values, distribution), distribution.log_prob(actions)

    def evaluate_actions(self, obs: PyTorchObs, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """
        :param obs: Observation
        :param actions: Actions
        :return: ``q(s, a)``, log likelihood of taking those actions and entropy of the action distribution
        """
        q_values, distribution = self.q_values_and_distribution(obs)
        taken = q_values.gather(1, actions.long().reshape(-1, 1))
        return taken, distribution.log_prob(actions), distribution.entropy()

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """
        :param obs: Observation
        :return: ``V(s)``, shape ``(batch_size, 1)``
        """
        return _state_values(*self.q_values_and_distribution(obs))


class ActorQCriticCnnPolicy(ActorQCriticPolicy, ActorCriticCnnPolicy):
    """:class:`ActorQCriticPolicy` for images; the parameters are those of ``ActorCriticCnnPolicy``."""


class MultiInputActorQCriticPolicy(ActorQCriticPolicy, MultiInputActorCriticPolicy):
    """:class:`ActorQCriticPolicy` for Dict observations; the parameters are those of ``MultiInputActorCriticPolicy``."""


def _state_values(q_values: th.Tensor, distribution: CategoricalDistribution) -> th.Tensor:
    """
    :param q_values: shape ``(batch_size, n_actions)``
    :param distribution: distribution of the actions
    :return: their mean, shape ``(batch_size, 1)``
    """
    return (distribution.distribution.probs * q_values).sum(dim=1, keepdim=True)


MlpPolicy = ActorQCriticPolicy
CnnPolicy = ActorQCriticCnnPolicy
MultiInputPolicy = MultiInputActorQCriticPolicy
