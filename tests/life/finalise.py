"""An object that lives until the interpreter finalises, and then copies from the GPU what it has to keep."""
import ctypes
import os
import sys

cuda = ctypes.PyDLL("libcuda.so.1")
context, memory = ctypes.c_void_p(), ctypes.c_uint64()
for result in (cuda.cuInit(0), cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0), cuda.cuCtxSetCurrent(context),
               cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(4096)),
               cuda.cuMemsetD8_v2(memory, ctypes.c_ubyte(5), ctypes.c_size_t(4096))):
    if result != 0:
        sys.exit(2)


class Saver:
    def __init__(self):  # what it needs is its own: the module's names may be gone
        self.copy, self.end, self.finalizing = cuda.cuMemcpyDtoH_v2, os._exit, sys.is_finalizing
        self.bytes, self.memory, self.size = ctypes.create_string_buffer(4096), memory, ctypes.c_size_t(4096)

    def __del__(self):
        result = self.copy(self.bytes, self.memory, self.size)
        if not self.finalizing() or result != 0 or self.bytes.raw != b"\5" * 4096:
            self.end(3)


sys.saver = Saver()
os.write(1, b"ready\n")
os.read(0, 1)
