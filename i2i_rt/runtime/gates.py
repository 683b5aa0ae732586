"""How much an artifact may differ from the PyTorch network in float32, by the precision that it computes in."""

# the smallest PSNR of pictures
GATES_DB = {"fp32": 60.0, "bf16": 38.0, "fp16": 38.0, "int8": 38.0, "fp8": 38.0}
# of codes, the largest error relative to the largest value; of label maps, the share of pixels
GATES_ERROR = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02, "int8": 0.1, "fp8": 0.1}
