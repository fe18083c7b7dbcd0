"""Weights as integers after training: round to nearest, and GPTQ. What comes out is the numbers they stand for."""

from canonlab.quantization.config import QuantizationConfig
from canonlab.quantization.decoder import quantize
from canonlab.quantization.gptq import gptq
from canonlab.quantization.grid import nearest

__all__ = ["QuantizationConfig", "gptq", "nearest", "quantize"]
