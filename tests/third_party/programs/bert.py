"""Fine-tuning a Hugging Face BERT classifier, with dropout, AdamW and a schedule."""

import sys

import torch
from transformers import BertConfig, BertForSequenceClassification, get_linear_schedule_with_warmup

torch.manual_seed(0)
config = BertConfig(
    vocab_size=512,
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=512,
    max_position_embeddings=128,
    attn_implementation="eager",
)
model = BertForSequenceClassification(config).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
schedule = get_linear_schedule_with_warmup(optimizer, 2, 8)

losses = []
for _ in range(8):
    tokens = torch.randint(512, (16, 128))
    mask = torch.arange(128) < torch.randint(64, 129, (16, 1))
    loss = model(tokens, attention_mask=mask.long(), labels=tokens[:, 0] % 2).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    losses.append(loss.item())

torch.save({"losses": torch.tensor(losses)}, sys.argv[1])
