#!/usr/bin/env python3
"""What PyTorch with Hugging Face models takes for the steps of the benchmark page: what a user would run instead.

    PYTHON experiments/benchmarks/torch_steps.py MODEL WORK [--threads 2] [--samples 16] [--source 128] [--target 10] [--rounds 5]

MODEL is a directory with the config.json of a T5 or a BART; WORK is forward, full, lora, parallel-adapters or cached.
Weights are drawn: time and memory do not depend on them. Prints one line of JSON. Needs torch, transformers, and peft
for lora.

The side network is the smallest thing that computes what this program's does: for every layer a projection of the
backbone's state, a gate, and a layer of an eighth of the width.
"""
import argparse
import json
import os
import pathlib
import resource
import time

parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("work", choices=["forward", "full", "lora", "parallel-adapters", "cached"])
for name, default in [("threads", 2), ("samples", 16), ("source", 128), ("target", 10), ("rounds", 5), ("reduction", 8)]:
    parser.add_argument("--" + name, type=int, default=default)
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import transformers  # noqa: E402
from torch import nn  # noqa: E402

torch.set_num_threads(options.threads)
torch.manual_seed(0)
configuration = transformers.AutoConfig.from_pretrained(options.model)
is_t5 = configuration.model_type == "t5"


class Attention(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(hidden) if is_t5 else nn.LayerNorm(hidden)
        self.q, self.k, self.v, self.o = (nn.Linear(hidden, hidden, bias=not is_t5) for _ in range(4))

    def forward(self, x, memory=None, bias=None, causal=False):
        y = self.norm(x) if is_t5 else x
        source = y if memory is None else memory
        split = lambda tensor: tensor.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if bias is not None:
            bias = bias.expand(x.shape[0], -1, -1, -1)
        attended = F.scaled_dot_product_attention(
            split(self.q(y)), split(self.k(source)), split(self.v(source)), attn_mask=bias,
            is_causal=causal and bias is None)
        result = x + self.o(attended.transpose(1, 2).flatten(2))
        return result if is_t5 else self.norm(result)


class SideLayer(nn.Module):
    def __init__(self, backbone, hidden, inner, heads, decodes):
        super().__init__()
        self.down = nn.Linear(backbone, hidden)
        self.gate = nn.Parameter(torch.zeros(()))
        self.attention = Attention(hidden, heads)
        self.cross = Attention(hidden, heads) if decodes else None
        self.norm = nn.RMSNorm(hidden) if is_t5 else nn.LayerNorm(hidden)
        self.up_projection = nn.Linear(hidden, inner, bias=not is_t5)
        self.down_projection = nn.Linear(inner, hidden, bias=not is_t5)

    def forward(self, a, b, memory, bias):
        gate = torch.sigmoid(self.gate / 0.1)
        x = self.attention(gate * a + (1 - gate) * self.down(b), bias=bias, causal=self.cross is not None)
        if self.cross is not None:
            x = self.cross(x, memory)
        y = self.up_projection(self.norm(x) if is_t5 else x)
        result = x + self.down_projection(F.relu(y) if is_t5 else F.gelu(y))
        return result if is_t5 else self.norm(result)


class SideNetwork(nn.Module):
    """`states` are the backbone's, by stack: the embedding and every layer's."""

    def __init__(self):
        super().__init__()
        wide = configuration.d_model
        hidden = wide // options.reduction
        heads = configuration.num_heads if is_t5 else configuration.encoder_attention_heads
        inner = (configuration.d_ff if is_t5 else configuration.encoder_ffn_dim) // options.reduction
        counts = ((configuration.num_layers, configuration.num_decoder_layers) if is_t5
                  else (configuration.encoder_layers, configuration.decoder_layers))
        self.embeddings = nn.ModuleList(nn.Linear(wide, hidden) for _ in range(2))
        self.stacks = nn.ModuleList(
            nn.ModuleList(SideLayer(wide, hidden, inner, heads, decodes) for _ in range(count))
            for decodes, count in enumerate(counts))
        self.tables = nn.ParameterList(nn.Parameter(torch.zeros(heads, 32)) for _ in range(2)) if is_t5 else None
        self.up = nn.Linear(hidden, wide)

    def forward(self, states):
        memory = None
        for index, (stack, b) in enumerate(zip(self.stacks, states)):
            bias = None
            if is_t5:
                n = b[0].shape[1]
                distance = (torch.arange(n)[None] - torch.arange(n)[:, None]).clamp(-15, 15) + 16
                bias = self.tables[index][:, distance][None]
                if index == 1:
                    bias = bias.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -1e9)
            a = self.embeddings[index](b[0])
            for layer, state in zip(stack, b[1:]):
                a = layer(a, state, memory, bias)
            memory = a
        return self.up(memory)


def make_model():
    for name in ["dropout_rate", "dropout", "attention_dropout", "activation_dropout"]:
        setattr(configuration, name, 0.0)
    kind = transformers.T5ForConditionalGeneration if is_t5 else transformers.BartForConditionalGeneration
    return kind(configuration).eval()


model = make_model()
inputs = torch.randint(5, 30000, (options.samples, options.source))
labels = torch.randint(5, 30000, (options.samples, options.target))
batch = dict(input_ids=inputs, attention_mask=torch.ones_like(inputs), labels=labels)
body = model if is_t5 else model.model


def states():
    grabbed = ([], [])
    hooks = []
    for into, stack in zip(grabbed, (body.encoder, body.decoder)):
        for layer in stack.block if is_t5 else stack.layers:
            hooks.append(layer.register_forward_pre_hook(
                lambda module, args, kwargs, into=into: into.append(args[0] if args else kwargs["hidden_states"]),
                with_kwargs=True))
            last = layer
        hooks.append(last.register_forward_hook(
            lambda module, args, result, into=into: into.append(result[0] if isinstance(result, tuple) else result)))
    with torch.no_grad():
        model(**batch)
    for hook in hooks:
        hook.remove()
    return grabbed


if options.work == "forward":
    def step():
        with torch.no_grad():
            model(**batch)
elif options.work in ("full", "lora"):
    if options.work == "lora":
        import peft
        model = peft.get_peft_model(model, peft.LoraConfig(
            r=32, lora_alpha=32, target_modules=["q", "v"] if is_t5 else ["q_proj", "v_proj"]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step():
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
else:
    side = SideNetwork()
    optimizer = torch.optim.AdamW(side.parameters(), lr=1e-4)
    head = model.lm_head.requires_grad_(False)
    held = states()
    is_cached = options.work == "cached"
    if is_cached:
        del model, body

    def step():
        optimizer.zero_grad()
        given = held if is_cached else states()
        z = side(given) + given[1][-1]
        F.cross_entropy(head(z).flatten(0, 1), labels.flatten()).backward()
        optimizer.step()

step()
times = []
for _ in range(options.rounds):
    start = time.perf_counter()
    step()
    times.append(time.perf_counter() - start)
print(json.dumps({
    "seconds": [round(seconds, 4) for seconds in times], "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "torch": torch.__version__, "threads": options.threads}))
