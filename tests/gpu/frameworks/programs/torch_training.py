"""PyTorch trains a model that fills the memory it is given, in one of the ways people train."""
import os

import outcome

MODES = ("eager", "amp", "compile", "graphs", "expandable", "async", "workers")
chosen = outcome.options(*MODES)
if chosen.mode == "expandable":
    os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
if chosen.mode == "async":
    os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "backend:cudaMallocAsync"
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
try:
    import torch
except ImportError as error:
    outcome.missing(str(error))
if not torch.cuda.is_available():
    outcome.missing("torch sees no card")

torch.manual_seed(7)
torch.use_deterministic_algorithms(True, warn_only=True)
WIDTH, BATCH = 4096, 256
# A weight, its gradient and its momentum are three times the layer.
layers = max(2, chosen.bytes // (3 * 4 * WIDTH * WIDTH))
blocks = []
for _ in range(layers):
    blocks += [torch.nn.Linear(WIDTH, WIDTH, bias=False, device="cuda"), torch.nn.Tanh()]
model = torch.nn.Sequential(*blocks)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
run = torch.compile(model) if chosen.mode == "compile" else model


def host_batch(number):
    generator = torch.Generator().manual_seed(number)
    return torch.randn(BATCH, WIDTH, generator=generator)


class Batches(torch.utils.data.Dataset):
    def __len__(self):
        return 1 << 30

    def __getitem__(self, index):
        return host_batch(index)


class InOrder(torch.utils.data.Sampler):
    def __iter__(self):
        return iter(range(1, 1 << 30))


if chosen.mode == "workers":
    loader = iter(torch.utils.data.DataLoader(Batches(), batch_size=None, sampler=InOrder(), num_workers=2, pin_memory=True))
else:
    loader = (host_batch(number) for number in range(1, 1 << 30))


def train(batch):
    optimizer.zero_grad(set_to_none=False)
    if chosen.mode == "amp":
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = (run(batch) - batch).float().square().mean()
    else:
        loss = (run(batch) - batch).square().mean()
    loss.backward()
    optimizer.step()


place = torch.zeros(BATCH, WIDTH, device="cuda")
graph = None
if chosen.mode == "graphs":
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            train(place)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        train(place)
else:
    train(place)  # compiles, and makes the momentum

torch.cuda.synchronize()
for _ in outcome.steps(chosen):
    place.copy_(next(loader), non_blocking=chosen.mode == "workers")
    if graph:
        graph.replay()
    else:
        train(place)
    torch.cuda.synchronize()
outcome.save(chosen, {name: value.detach().cpu().numpy() for name, value in list(model.named_parameters())[:8]})
