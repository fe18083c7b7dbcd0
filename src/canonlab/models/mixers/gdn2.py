"""Gated DeltaNet-2: what is erased and what is written have gates of their own, one for each channel.

Per head, with a_t the decays, b_t the gates of erasing, w_t those of writing, and k_t of norm 1:

    S_t = (I - k_t (b_t * k_t)^T) diag(a_t) S_{t-1} + k_t (w_t * v_t)^T,    o_t = K^(-1/2) S_t^T q_t,

the recurrence of `linear.py`, which reads with b_t * k_t. With b = w = beta it is Kimi Delta Attention.
Source: Gated DeltaNet-2: Decoupling Erase and Write in Linear Attention, arXiv 2605.22791. (Not to be confused with the
wide Gated DeltaNet of PhysicsLM4, `gdn-wide`.)
Legend: B batch, T time, H heads, K key width, V value width (both of a head).
"""

from torch import Tensor

from canonlab.models.mixers.kda import KimiDeltaAttention


class GatedDeltaNet2(KimiDeltaAttention):
    """As Kimi Delta Attention, with b_t = sigmoid(W_b x) and w_t = sigmoid(W_w x) in place of beta_t.

    About (6 + 4 / heads) width^2 parameters as the defaults have it.
    """

    def _gates(self, config: KimiDeltaAttention.Config) -> int:
        """One for each channel of keys and of values."""
        return config.key_width + config.value_width

    def _write(self, gates: Tensor, k_BTHK: Tensor, v_BTHV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keys = k_BTHK.shape[2] * k_BTHK.shape[3]
        b_BTHK, w_BTHV = (part.unflatten(-1, (self.heads, -1)) for part in gates.tensor_split([keys], -1))
        return k_BTHK, (w_BTHV * v_BTHV).to(v_BTHV.dtype), b_BTHK * k_BTHK
