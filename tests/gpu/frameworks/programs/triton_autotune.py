"""A Triton kernel that is tuned when it is first called: compiled, timed and chosen while it may be preempted."""
import outcome

chosen = outcome.options()
try:
    import torch
    import triton
    import triton.language as tl
except ImportError as error:
    outcome.missing(str(error))
if not torch.cuda.is_available():
    outcome.missing("torch sees no card")


@triton.autotune(configs=[triton.Config({"BLOCK": block}, num_warps=warps) for block in (256, 1024) for warps in (2, 4, 8)],
                 key=["n"], restore_value=["y"])
@triton.jit
def saxpy(x, y, a, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    value = tl.load(y + at, mask=inside) * a + tl.load(x + at, mask=inside)
    tl.store(y + at, value, mask=inside)


torch.manual_seed(13)
LENGTH = 64 << 20
count = max(2, chosen.bytes // (4 * LENGTH))
vectors = [torch.rand(LENGTH, device="cuda") for _ in range(count)]
torch.cuda.synchronize()
for number in outcome.steps(chosen):
    n = LENGTH - 4096 * (number % 4)  # four sizes, each tuned for itself
    saxpy[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](vectors[number % count], vectors[(number + 1) % count], 0.5, n)
    torch.cuda.synchronize()
outcome.save(chosen, {f"vector{i}": vectors[i].cpu().numpy() for i in range(min(count, 4))})
