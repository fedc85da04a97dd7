"""Inference with timm's EfficientNet."""

import sys

import timm
import torch

torch.manual_seed(0)
model = timm.create_model("efficientnet_b0", pretrained=False).eval()
with torch.inference_mode():
    logits = model(torch.randn(2, 3, 160, 160))

torch.save({"logits": logits.clone()}, sys.argv[1])
