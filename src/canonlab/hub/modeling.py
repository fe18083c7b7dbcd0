"""Every decoder as a model of transformers: `AutoModelForCausalLM`, `generate`, `Trainer`, `device_map`.

Needs transformers. Together with the modules that it imports, this file is also the code that an export carries along
(`canonlab.hub.bundle`), so that it loads where canonlab isn't installed.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from canonlab.canon import Canon
from canonlab.models.canon_points import CanonConfig
from canonlab.models.decoder import Block, BlockConfig, Decoder, DecoderConfig, DecoderState, MixerConfig, tensors_of
from canonlab.models.mlp import MLPConfig
from canonlab.models.moe import MoE
from canonlab.models.presets import MIXERS

if "cache" not in CausalLMOutputWithPast.__dataclass_fields__:  # where it has another name, it would be lost
    raise ImportError("this model needs transformers 5.24 or newer: pip install -U transformers")

REFUSED = ("inputs_embeds", "position_ids", "past_key_values", "output_hidden_states", "output_attentions")
"""Arguments that models of transformers may take, and this one doesn't: nobody shall believe that they were heeded."""

CARRIED = not __name__.startswith("canonlab.")
"""Whether this is an export's copy."""

ROOM = 64
"""Tokens beyond the first ones that a new state has room for."""


class CanonlabConfig(PreTrainedConfig):
    """A `DecoderConfig` as plain data, its sizes under the names that transformers has for them.

    Attributes:
        vocab_size, num_hidden_layers, hidden_size, tie_word_embeddings: Vocabulary, layers, width and tied.
        pattern, canon, norm, norm_eps, embedding_std, head_std, init_scale: See `DecoderConfig`.
        canonlab: The model in canonlab's words (`ModelConfig`), for `canonlab import`.
    """

    model_type = "canonlab"

    vocab_size: int = 1
    num_hidden_layers: int = 1
    hidden_size: int = 1
    tie_word_embeddings: bool = False
    pattern: list[dict[str, Any]] | None = None
    canon: dict[str, Any] | None = None
    norm: str = "rms"
    norm_eps: float = 1e-6
    embedding_std: float = 0.02
    head_std: float | None = 0.02
    init_scale: float = 1.0
    canonlab: dict[str, Any] | None = None
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None

    def architecture(self) -> DecoderConfig:
        """The decoder that this describes."""
        pattern = [
            BlockConfig(
                MixerConfig(MIXERS[block["mixer"]["class"]], block["mixer"]["arguments"]),
                MLPConfig(**block["mlp"]) if block["mlp"] else None,
            )
            for block in self.pattern or []
        ]
        return DecoderConfig(
            self.vocab_size,
            self.num_hidden_layers,
            self.hidden_size,
            tuple(pattern),
            CanonConfig(**(self.canon or {})),
            tied=self.tie_word_embeddings,
            norm=self.norm,
            norm_eps=self.norm_eps,
            embedding_std=self.embedding_std,
            head_std=self.head_std,
            init_scale=self.init_scale,
        )


class StateCache:
    """A decoder's state where transformers expects a cache: it has room for as many tokens as come."""

    is_compileable = False
    is_croppable = False
    is_linear = (False,)
    """Of some layer, since `generate` takes a cache of linear layers alone for one that has no length."""

    def __init__(self, state: DecoderState) -> None:
        self.state = state

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many tokens it has seen, padding included."""
        return self.state.position

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Make row i continue what row beam_idx[i] was."""
        for tensor in tensors_of(self.state.blocks):  # each on its block's device
            tensor.copy_(tensor.index_select(0, beam_idx.to(tensor.device)))


class CanonlabForCausalLM(PreTrainedModel, GenerationMixin):
    """A decoder, its weights under `model.`.

    What the mask leaves out is padding, which nothing sees, wherever it stands. A state grows as needed; as that of
    recurrent layers can't be cut back, there is no assisted generation.
    """

    config_class = CanonlabConfig
    base_model_prefix = "model"
    _no_split_modules = ["Block"]  # noqa: RUF012 (transformers' own way)
    _skip_keys_device_placement = ["cache", "shared"]  # noqa: RUF012 (what a mixer leaves in a copy would be lost)
    _tied_weights_keys = {"model.head.weight": "model.embedding.weight"}  # noqa: RUF012
    _is_stateful = True

    def __init__(self, config: CanonlabConfig) -> None:
        super().__init__(config)
        self.model = Decoder(config.architecture())
        if CARRIED:  # without compiled kernels
            for module in self.modules():
                if isinstance(module, Canon):
                    module.implementation = "reference"
        self.post_init()

    def init_weights(self) -> None:
        """Nothing: a decoder has initialised itself."""
        self.tie_weights(recompute_mapping=False)

    def initialize_weights(self) -> None:
        """Called when weights have been loaded, which makes all of them trainable: frozen Canon layers aren't."""
        super().initialize_weights()
        for module in self.modules():
            if isinstance(module, Canon):
                module.weight.requires_grad_(not module.frozen)

    def _init_weights(self, module: nn.Module) -> None:
        """Called for what a checkpoint lacks, and for embeddings that `resize_token_embeddings` makes."""
        if isinstance(module, MoE):
            module.dropped.zero_()
        elif isinstance(module, nn.Embedding | nn.Linear):
            super()._init_weights(module)
        elif any(_is_lacking(tensor) for tensor in module.parameters(recurse=False)):
            raise ValueError(f"the checkpoint lacks weights of a {type(module).__name__}")

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.model.embedding = value

    def get_output_embeddings(self) -> nn.Module:
        return self.model.head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.model.head = new_embeddings

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: StateCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast | tuple[Any, ...]:
        """Logits for the token after each of `input_ids` (batch, time), and with `labels` the loss of the next token.

        attention_mask (batch, time or all that the cache has seen and time): 0 is padding. cache: what an earlier call
        returned; these ids continue it. logits_to_keep: only so many last ones, or those at these places. The loss has
        the part that balances experts in it, in training. A cache is made where gradients aren't needed, or with
        `use_cache`.
        """
        for name in REFUSED:
            if kwargs.pop(name, None) not in (None, False):
                raise ValueError(f"{name}: this model doesn't take it")
        if use_cache is None:
            use_cache = self.config.use_cache and not torch.is_grad_enabled()
        batch, time = input_ids.shape
        if use_cache or cache is not None:
            cache = self._with_room(cache, batch, time)
        select = None
        if not isinstance(logits_to_keep, int) or logits_to_keep:
            places = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            select = torch.zeros_like(input_ids, dtype=torch.bool)
            select[:, places] = True
        state = None if cache is None else cache.state
        output = self.model(input_ids, _segments(attention_mask, time), state, select)
        logits = output.logits if select is None else output.logits.unflatten(0, (batch, -1))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
            if output.auxiliary is not None:
                loss = loss + output.auxiliary.to(loss.device)
        found = CausalLMOutputWithPast(loss=loss, logits=logits, cache=cache)
        return found.to_tuple() if return_dict is False else found

    def _with_room(self, cache: StateCache | None, batch: int, time: int) -> StateCache:
        """The cache, or a new one, with room for `time` more tokens; its room doubles when it is used up."""
        if cache is None:
            return StateCache(self._state(batch, time + ROOM))
        old, needed = cache.state, cache.state.position + time
        if needed > old.max_len:
            cache.state = self._state(batch, 2 * needed)
            for mine, new in zip(tensors_of(old.blocks), tensors_of(cache.state.blocks), strict=True):
                new[tuple(map(slice, mine.shape))] = mine
            cache.state.position = old.position
        return cache

    def _state(self, batch: int, tokens: int) -> DecoderState:
        blocks: Any = self.model.blocks
        return DecoderState([block.init_state(batch, tokens, self.dtype, _device(block)) for block in blocks], tokens)


def _is_lacking(tensor: Tensor) -> bool:
    """Whether memory has been made for a weight, and nothing put there; what stays on a disk has none."""
    return not tensor.is_meta and not getattr(tensor, "_is_hf_initialized", False)


def _device(block: Block) -> torch.device:
    """Where a block runs, which is not where its weights lie if accelerate keeps them on a disk."""
    device: Any = getattr(getattr(block, "_hf_hook", None), "execution_device", None)
    return torch.device(next(block.parameters()).device if device is None else device)


def _segments(mask: Tensor | None, time: int) -> Tensor | None:
    """Segment 0 for what the last `time` columns of a mask let through, -1 for padding; None where there is none."""
    if mask is None:
        return None
    if mask.ndim != 2 or mask.shape[1] < time:
        raise ValueError(f"attention_mask has the shape {tuple(mask.shape)}: must be (batch, {time} or more)")
    mask = mask[:, -time:] != 0
    if not torch.compiler.is_compiling() and mask.all():
        return None
    return torch.where(mask, 0, -1)


if not CARRIED:
    AutoConfig.register(CanonlabConfig.model_type, CanonlabConfig)
    AutoModelForCausalLM.register(CanonlabConfig, CanonlabForCausalLM)
