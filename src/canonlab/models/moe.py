"""Mixture of experts: many standard MLPs of which each token uses one.

Source: Switch Transformers (arXiv 2101.03961), sections 2.1 and 2.2. Legend: B batch, T time, N = B T tokens,
X experts, D width, F inner width of an expert.
"""

import contextlib
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from canonlab.canon.transforms import Operator, transformed
from canonlab.errors import InputError, require_integer
from canonlab.models.canon_points import CanonConfig
from canonlab.models.layers import fixed
from canonlab.models.mlp import ACTIVATIONS, MLPConfig


class MoE(nn.Module):
    """y = p_x(h) down_x(act(up_x(h))) with x = argmax_x p_x(h), where p(h) = softmax(router(h)) over the experts.

    In training an expert takes at most C = ceil(capacity T / X) tokens of each row, earlier positions first; for a
    token too many y = 0, so that it takes only the residual. Capacity is a row's own, shared by the documents packed in
    it: rows do not influence each other, and no token influences an earlier one. Padding takes none of it. In
    evaluation, and in decoding, no token is dropped, since what a token gets could otherwise depend on how a text is
    cut into calls; the capacity of 8 that is published for evaluation comes close to that.

    Every token is computed by its expert, the dropped ones too: sorting tokens by expert makes that as cheap as the
    tokens are many, where buffers of C rows for each expert are `capacity` times as much work.

    The auxiliary loss (in training) is balance X sum_x f_x P_x, with f_x the share of the batch's tokens that choose
    expert x, dropped or not, and P_x their mean p_x; it is `balance` where experts are used equally.

    Attributes:
        dropped: (), the share of tokens dropped in the last training forward. A buffer that is never saved.
    """

    dropped: Tensor

    def __init__(
        self,
        config: MLPConfig,
        width: int,
        canon: CanonConfig,
        *,
        experts: int = 32,
        capacity: float = 2.0,
        balance: float = 0.01,
    ) -> None:
        super().__init__()
        require_integer("experts", experts, 1)
        if "D" in canon.points:
            raise InputError(f"canon = {canon.points!r}: a mixture of experts has no point D")
        if config.bias:
            raise InputError("bias = True: experts have none")
        self.experts, self.capacity, self.balance = experts, capacity, balance
        self.activation = ACTIVATIONS[config.activation]
        self.router = _weight(config.std, experts, width)
        self.up = _weight(config.std, experts, config.intermediate, width)
        self.down = _weight(config.std, experts, width, config.intermediate)
        self.register_buffer("dropped", torch.zeros(()), persistent=False)

    @property
    def idle_parameters(self) -> int:
        """How many parameters have no part in what one token gets."""
        return (self.experts - 1) * (self.up[0].numel() + self.down[0].numel())

    def forward(
        self, x: Tensor, segment_ids: Tensor | None, state: dict[str, Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        shares_BTX = self._route(x)
        gate_BT, expert_BT = shares_BTX.max(-1)
        chosen_BTX = expert_BT[..., None] == torch.arange(self.experts, device=x.device)
        loss = None
        if self.training and state is None:
            real_BTX = chosen_BTX if segment_ids is None else chosen_BTX & (segment_ids >= 0)[..., None]
            kept_BT = self._within_capacity(real_BTX)
            gate_BT, loss = gate_BT * kept_BT, self._imbalance(shares_BTX, real_BTX)
        order_N = expert_BT.flatten().argsort(stable=True)
        ends_X = chosen_BTX.sum((0, 1)).cumsum(0)
        h_ND = x.flatten(0, 1).index_select(0, order_N)
        h_NF = self.activation(grouped_linear(h_ND, self.up.to(x.dtype), ends_X))
        y_ND = grouped_linear(h_NF, self.down.to(x.dtype), ends_X).index_select(0, order_N.argsort())
        return y_ND.view_as(x) * gate_BT[..., None].to(x.dtype), loss

    def products(self, x: Tensor, *_: Any) -> dict[str, Any]:
        """What each matrix is multiplied with: the router with x; up and down of each expert with what its tokens have
        there, a list (tokens, width in)."""
        expert_BT = self._route(x).argmax(-1)
        inputs = [x[expert_BT == expert] for expert in range(self.experts)]
        inner = (F.linear(h_ND, up_FD.to(x.dtype)) for h_ND, up_FD in zip(inputs, self.up, strict=True))
        return {"router": x, "up": inputs, "down": [self.activation(h_NF) for h_NF in inner]}

    def _route(self, x: Tensor) -> Tensor:
        """p (B, T, X), in single precision at least, under autocast too: the choice is not continuous."""
        dtype, device = torch.promote_types(x.dtype, torch.float32), x.device.type
        exact = torch.amp.is_autocast_available(device)
        with torch.autocast(device, enabled=False) if exact else contextlib.nullcontext():
            return F.linear(x.to(dtype), self.router.to(dtype)).softmax(-1)

    def _within_capacity(self, real_BTX: Tensor) -> Tensor:
        """(B, T) bool: which tokens are not dropped. `real_BTX` marks the expert of each token but padding."""
        limit = math.ceil(self.capacity * real_BTX.shape[1] / self.experts)
        kept_BT = (real_BTX & (real_BTX.cumsum(1) <= limit)).any(-1)
        if not transformed():  # what a transform computes has no meaning, and no memory, outside of it
            self.dropped = 1 - kept_BT.sum() / real_BTX.sum().clamp(min=1)
        return kept_BT

    def _imbalance(self, shares_BTX: Tensor, real_BTX: Tensor) -> Tensor:
        """The auxiliary loss: () in the dtype of the shares."""
        chosen_BTX = real_BTX.to(shares_BTX.dtype)
        tokens = chosen_BTX.sum().clamp(min=1)
        chosen_X = chosen_BTX.sum((0, 1)) / tokens
        mean_X = (shares_BTX * chosen_BTX.sum(-1, keepdim=True)).sum((0, 1)) / tokens
        return self.balance * self.experts * (chosen_X * mean_X).sum()

    def init_state(self, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        return {}


def dropped_share(model: nn.Module) -> Tensor | None:
    """(): the mean over a model's mixtures of what each dropped in the last training forward; None without any."""
    shares = [module.dropped for module in model.modules() if isinstance(module, MoE)]
    return torch.stack(shares).mean() if shares else None


def grouped_linear(x_ND: Tensor, weight_XFD: Tensor, ends_X: Tensor) -> Tensor:
    """y (N, F): rows ends[x - 1] .. ends[x] - 1 of x are multiplied by the matrix of expert x; ends[X - 1] = N."""
    if choose_implementation(x_ND.device, x_ND.dtype, weight_XFD.shape) == "grouped_mm" and not transformed():
        return F.grouped_mm(x_ND, weight_XFD.mT, offs=ends_X.to(torch.int32))
    return _grouped_linear(x_ND, weight_XFD, ends_X)


def choose_implementation(device: torch.device | str, dtype: torch.dtype, shape: torch.Size) -> str:
    """What multiplies: "grouped_mm", the framework's, on CUDA in bfloat16, for widths of whole 16 bytes; or "loop"."""
    fits = dtype == torch.bfloat16 and shape[-1] % 8 == shape[-2] % 8 == 0
    return "grouped_mm" if torch.device(device).type == "cuda" and fits else "loop"


def _loop(x_ND: Tensor, weight_XFD: Tensor, ends_X: Tensor) -> Tensor:
    """One product an expert."""
    y_NF = x_ND.new_empty(x_ND.shape[0], weight_XFD.shape[1])
    for rows, weight_FD in zip(_groups(ends_X), weight_XFD, strict=True):
        torch.mm(x_ND[rows], weight_FD.mT, out=y_NF[rows])
    return y_NF


def _loop_weights(grad_NF: Tensor, x_ND: Tensor, ends_X: Tensor) -> Tensor:
    grad_XFD = x_ND.new_empty(len(ends_X), grad_NF.shape[1], x_ND.shape[1])
    for rows, grad_FD in zip(_groups(ends_X), grad_XFD, strict=True):
        torch.mm(grad_NF[rows].mT, x_ND[rows], out=grad_FD)
    return grad_XFD


def _groups(ends_X: Tensor) -> list[slice]:
    ends = ends_X.tolist()
    return [slice(first, last) for first, last in zip([0, *ends], ends, strict=False)]


def _dense(x_ND: Tensor, weight_XFD: Tensor, ends_X: Tensor) -> Tensor:
    """Every expert computes every token: X times the work, of which each token takes its own."""
    return _only_own(torch.einsum("nd,xfd->nxf", x_ND, weight_XFD), ends_X).sum(1)


def _dense_weights(grad_NF: Tensor, x_ND: Tensor, ends_X: Tensor) -> Tensor:
    grad_NXF = grad_NF[:, None].expand(-1, ends_X.shape[0], -1)
    return torch.einsum("nxf,nd->xfd", _only_own(grad_NXF, ends_X), x_ND)


def _only_own(y_NXF: Tensor, ends_X: Tensor) -> Tensor:
    """y where row n is one of expert x, zero elsewhere."""
    rows_N1 = torch.arange(y_NXF.shape[0], device=ends_X.device)[:, None]
    own_NX = (rows_N1 >= F.pad(ends_X, (1, -1))) & (rows_N1 < ends_X)
    return torch.where(own_NX[..., None], y_NXF, 0)


# Operators, since how many tokens an expert has depends on the data. Both are bilinear: so are their gradients.
_grouped_linear = Operator("canonlab::grouped_linear", _dense, _loop)
_weight_gradient = Operator("canonlab::grouped_linear_weights", _dense_weights, _loop_weights)


@_grouped_linear.node.register_fake
def _(x_ND: Tensor, weight_XFD: Tensor, ends_X: Tensor) -> Tensor:
    return x_ND.new_empty(x_ND.shape[0], weight_XFD.shape[1])


@_weight_gradient.node.register_fake
def _(grad_NF: Tensor, x_ND: Tensor, ends_X: Tensor) -> Tensor:
    return x_ND.new_empty(ends_X.shape[0], grad_NF.shape[1], x_ND.shape[1])


def _remember(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad_NF: Tensor) -> tuple[Tensor, Tensor, None]:
    x_ND, weight_XFD, ends_X = ctx.saved_tensors
    grad_NF = grad_NF.contiguous()
    return _grouped_linear(grad_NF, weight_XFD.mT, ends_X), _weight_gradient(grad_NF, x_ND, ends_X), None


def _differentiate_weights(ctx: Any, grad_XFD: Tensor) -> tuple[Tensor, Tensor, None]:
    grad_NF, x_ND, ends_X = ctx.saved_tensors
    return _grouped_linear(x_ND, grad_XFD, ends_X), _grouped_linear(grad_NF, grad_XFD.mT, ends_X), None


_grouped_linear.node.register_autograd(_differentiate, setup_context=_remember)
_weight_gradient.node.register_autograd(_differentiate_weights, setup_context=_remember)


@register_flop_formula([torch.ops.canonlab.grouped_linear, torch.ops.canonlab.grouped_linear_weights])
def _(a_shape, b_shape, *_, out_shape=None, **__) -> int:  # type: ignore[no-untyped-def]
    """2 N D F, of whichever operator."""
    rows, width = a_shape
    return 2 * int(rows) * int(width) * int(b_shape[1])


def _weight(std: float | None, *shape: int) -> nn.Parameter:
    """N(0, std); None: uniform in +-1/sqrt(width in), as PyTorch initialises a projection."""
    weight = torch.empty(shape)
    if std is None:
        return nn.Parameter(nn.init.uniform_(weight, -(shape[-1] ** -0.5), shape[-1] ** -0.5))
    parameter = nn.Parameter(weight)
    fixed(parameter, std)
    return parameter
