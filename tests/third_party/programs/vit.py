"""Inference with timm's vision transformer."""

import sys

import timm
import torch

torch.manual_seed(0)
model = timm.create_model("vit_tiny_patch16_224", pretrained=False).eval()
with torch.no_grad():
    logits = model(torch.randn(4, 3, 224, 224))

torch.save({"logits": logits}, sys.argv[1])
