"""The optimiser Keras lacks: Muon for convolutions.

Flow: used by `train.py`.
Sources: Jordan et al. 2024, Muon, https://kellerjordan.github.io/posts/muon; Liu et al. 2025
    (arXiv:2502.16982) for the scale of a step.
"""

import keras
from keras import ops

from bloodkeras.named_types import Tensor


@keras.saving.register_keras_serializable(package="bloodkeras")
class ConvMuon(keras.optimizers.Muon):
    """Muon that also orthogonalises the steps of convolution kernels.

    Keras' own leaves everything that is not a matrix to AdamW. A kernel (h, w, C in, C out) is the
    matrix (h w C in, C out); depthwise kernels, biases and normalisation stay with AdamW.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        is_conv = len(variable.shape) == 4 and variable.shape[-1] > 1
        return not is_conv and super()._should_use_adamw(variable)

    def _muon_update_step(
        self,
        gradient: Tensor,
        variable: keras.Variable,
        lr: Tensor,
        m: keras.Variable,
    ) -> None:
        self.assign_add(m, gradient + m * (self.momentum - 1))
        g = gradient + self.momentum * m if self.nesterov else m
        matrix = ops.reshape(g, (-1, variable.shape[-1]))
        update = self.zeropower_via_newtonschulz5(matrix, self.ns_steps)
        self.assign_sub(variable, ops.reshape(self.lr_adjust(lr * update), variable.shape))
