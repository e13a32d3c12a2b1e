"""Poisson regression of rare losses on observations and actions."""

import math

import numpy as np
import torch as th

from sb3_ordergrad.common.rare_losses import input_projection

N_FEATURES = 256  # random features beside the inputs
FEATURE_SCALE = 0.3  # of the random features, relative to the inputs
RIDGE = 3.0  # penalty, in losses of typical size
MAX_MARGIN = math.log(2.0)  # for the uncertainty of the logarithm of an expected loss
N_ITERATIONS = 40  # of L-BFGS at most; a fit starts from the last one


class LossRegression:
    r"""
    Expected loss of a step from few losses: a log-linear Poisson regression with a ridge penalty.

    .. math:: h(x) = \frac{m}{Z} \exp(w^\top \varphi(x) + \min(s^2(x) / 2, \log 2)), \qquad
              \varphi(x) = [z, 0.3 \tanh(A z + b)]

    with standardised inputs z within +-3, fixed random A and b, the mean loss m, and Z such that the mean of h without s is m
    over the data. The coefficients w minimise the negative Poisson log-likelihood, with losses in units of
    ``sum l^2 / sum l``, plus ``RIDGE * |w|^2``. With a dozen losses a network predicts those of other episodes worse than the
    constant m does, this regression better (docs/experiments/trials.md).

    The variance :math:`s^2(x)` of :math:`w^\top \varphi(x)`, by Laplace's approximation, makes h the posterior mean, at most
    twice its mode: an agent seeks out the steps whose risk is underestimated.
    """

    def __init__(self) -> None:
        self.mean_loss = 0.0
        self.coefficients: np.ndarray | None = None  # none before the first fit

    def fit(self, inputs: np.ndarray, losses: np.ndarray, weights: np.ndarray) -> None:
        """
        :param inputs: of each step, shape (n, n_inputs), float32
        :param losses: of each step, at least one positive, shape (n,)
        :param weights: number of steps that each stands for, shape (n,)
        """
        if self.coefficients is None:
            self._create(inputs.shape[1])
        inputs = inputs @ self.projection
        self.mean, self.std = inputs.mean(0), inputs.std(0) + 1e-6
        features = th.from_numpy(self._features(inputs))
        shares = weights / weights.sum()
        self.mean_loss = float(shares @ losses)
        log_shares = th.as_tensor(np.log(shares), dtype=th.float32)
        # many small losses beside a few large ones do not add to their number
        typical_loss = (losses @ losses) / losses.sum()
        sizes = th.as_tensor(weights * losses / typical_loss, dtype=th.float32)
        coefficients = th.tensor(self.coefficients, requires_grad=True)
        optimizer = th.optim.LBFGS([coefficients], max_iter=N_ITERATIONS, line_search_fn="strong_wolfe")

        def penalised_loss() -> th.Tensor:
            optimizer.zero_grad()
            log_ratios = features @ coefficients
            # the likelihood at the scale that fits best
            loss = sizes.sum() * th.logsumexp(log_ratios + log_shares, 0) - sizes @ log_ratios
            loss = loss + RIDGE * coefficients.square().sum()
            loss.backward()
            return loss

        optimizer.step(penalised_loss)
        with th.no_grad():
            log_losses = features @ coefficients + log_shares
            self.log_mean_ratio = float(th.logsumexp(log_losses, 0))
            loss_shares = th.softmax(log_losses, 0)
            center = loss_shares @ features
            centred = (features - center).double()
            precision = sizes.sum() * (centred.T * loss_shares) @ centred + 2.0 * RIDGE * th.eye(len(coefficients))
            self.covariance_root = th.linalg.inv(th.linalg.cholesky(precision)).T.float().numpy()
        self.coefficients, self.center = coefficients.detach().numpy(), center.numpy()

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """
        :param inputs: shape (n, n_inputs), float32
        :return: expected losses, shape (n,)
        """
        features = self._features(inputs @ self.projection)
        variances = np.square((features - self.center) @ self.covariance_root).sum(1)
        margins = np.minimum(0.5 * variances, MAX_MARGIN)
        return self.mean_loss * np.exp(features @ self.coefficients - self.log_mean_ratio + margins)

    def _create(self, n_inputs: int) -> None:
        rng = np.random.default_rng(0)
        self.projection = input_projection(n_inputs)
        width = self.projection.shape[1]
        self.directions = rng.normal(0.0, FEATURE_SCALE, (width, N_FEATURES)).astype(np.float32)
        self.offsets = rng.normal(size=N_FEATURES).astype(np.float32)
        self.coefficients = np.zeros(width + N_FEATURES, dtype=np.float32)

    def _features(self, inputs: np.ndarray) -> np.ndarray:
        standardised = np.clip((inputs - self.mean) / self.std, -3.0, 3.0)
        return np.hstack([standardised, FEATURE_SCALE * np.tanh(standardised @ self.directions + self.offsets)])
