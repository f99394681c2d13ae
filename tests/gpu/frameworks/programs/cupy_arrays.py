"""CuPy: products, transforms, sorts and sums over arrays that fill the memory it is given."""
import outcome

chosen = outcome.options()
try:
    import cupy
except ImportError as error:
    outcome.missing(str(error))
try:
    cupy.cuda.runtime.getDeviceCount()
except cupy.cuda.runtime.CUDARuntimeError as error:
    outcome.missing(str(error))

SIDE = 4096
count = max(2, chosen.bytes // (4 * SIDE * SIDE))
random = cupy.random.RandomState(19)
arrays = [random.standard_normal((SIDE, SIDE), dtype=cupy.float32) / 64 for _ in range(count)]
cupy.cuda.Device().synchronize()
for number in outcome.steps(chosen):
    one, other = arrays[number % count], arrays[(number + 1) % count]
    one[...] = cupy.tanh(one @ other)
    one[0, :] = cupy.abs(cupy.fft.fft(other[0, :]))[:SIDE] / SIDE
    one[1, :] = cupy.sort(other[1, :])
    one[2, 0] = other.sum() / other.size
    cupy.cuda.Device().synchronize()
outcome.save(chosen, {f"array{i}": cupy.asnumpy(arrays[i]) for i in range(min(count, 8))})
