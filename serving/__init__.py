"""Deployment on Triton Inference Server: model repository, running the server, clients, manifests."""
