"""Sessions: one backend a file, behind one protocol. Only `torch.py` needs PyTorch."""
