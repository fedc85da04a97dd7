"""Hugging Face GPT-2: a forward pass with its loss and gradients, then sampling."""

import sys

import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
config = GPT2Config(
    vocab_size=512,
    n_positions=256,
    n_embd=128,
    n_layer=2,
    n_head=4,
    bos_token_id=0,
    eos_token_id=None,
    attn_implementation="eager",
)
model = GPT2LMHeadModel(config).eval()
tokens = torch.randint(512, (8, 192))

output = model(tokens, labels=tokens)
output.loss.backward()
with torch.no_grad():
    generated = model.generate(tokens[:, :160], max_new_tokens=16, do_sample=True, top_k=50, pad_token_id=0)

torch.save(
    {
        "loss": output.loss.detach(),
        "logits": output.logits.detach(),
        "gradients": [parameter.grad for parameter in model.parameters()],
        "generated": generated,
    },
    sys.argv[1],
)
