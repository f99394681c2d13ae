"""cuBLAS, cuDNN and NCCL (one rank), as PyTorch calls them, beside memory that fills what is given."""
import os

import outcome

chosen = outcome.options()
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")  # a machine without network has no other
try:
    import torch
    import torch.distributed
except ImportError as error:
    outcome.missing(str(error))
if not torch.cuda.is_available():
    outcome.missing("torch sees no card")
if not (torch.distributed.is_available() and torch.distributed.is_nccl_available()):
    outcome.missing("torch has no NCCL")

torch.manual_seed(11)
torch.use_deterministic_algorithms(True, warn_only=True)
torch.backends.cudnn.benchmark = False
store = torch.distributed.HashStore()
torch.distributed.init_process_group("nccl", store=store, rank=0, world_size=1)
SIDE = 4096
count = max(2, chosen.bytes // (4 * SIDE * SIDE))
matrices = [torch.randn(SIDE, SIDE, device="cuda") / 64 for _ in range(count)]
image = torch.randn(32, 64, 64, 64, device="cuda")
kernels = torch.randn(64, 64, 3, 3, device="cuda") / 24
torch.cuda.synchronize()
for number in outcome.steps(chosen):
    one, other = matrices[number % count], matrices[(number + 1) % count]
    one.copy_(torch.tanh(one @ other))
    image.copy_(torch.tanh(torch.nn.functional.conv2d(image, kernels, padding=1)))
    torch.distributed.all_reduce(one)
    torch.cuda.synchronize()
outcome.save(chosen, {"image": image.cpu().numpy()} | {f"matrix{i}": matrices[i].cpu().numpy() for i in range(min(count, 8))})
torch.distributed.destroy_process_group()
