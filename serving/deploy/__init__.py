"""Production: model repositories with native backends, an image, and manifests for compose, Kubernetes and KServe."""
