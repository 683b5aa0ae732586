"""Operators that the networks are built from: tensors in, tensors out; nothing of models is known here."""

from i2i_rt.kernels.blur_epilogue import blur, blur_epilogue
from i2i_rt.kernels.conv_epilogue import conv_epilogue, tiled
from i2i_rt.kernels.frame import frame_in, frame_out
from i2i_rt.kernels.instance_norm import instance_norm
from i2i_rt.kernels.modulated_conv import modulated_conv2d, unit_filters
from i2i_rt.kernels.norm_act import norm_act
from i2i_rt.kernels.spade_boundary import spade_boundary_conv
from i2i_rt.kernels.spade_conv_modulate import spade_conv_modulate
from i2i_rt.kernels.spade_hidden import spade_hidden
from i2i_rt.kernels.spade_layout import spade_layout
from i2i_rt.kernels.spade_table import spade_table_apply

__all__ = [
    "blur",
    "blur_epilogue",
    "conv_epilogue",
    "frame_in",
    "frame_out",
    "instance_norm",
    "modulated_conv2d",
    "norm_act",
    "spade_boundary_conv",
    "spade_conv_modulate",
    "spade_hidden",
    "spade_layout",
    "spade_table_apply",
    "tiled",
    "unit_filters",
]
