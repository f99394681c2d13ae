"""A host function needs Python's lock while another thread, which holds it, waits at a closed gate."""
import ctypes
import os
import sys
import threading
import time

cuda = ctypes.PyDLL("libcuda.so.1")  # keeps the lock during calls
context, memory, stream = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_void_p()
for result in (cuda.cuInit(0), cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0), cuda.cuCtxSetCurrent(context),
               cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(4096)),
               cuda.cuStreamCreate(ctypes.byref(stream), 1)):
    if result != 0:
        sys.exit(2)
paused, submitting, finished = threading.Event(), threading.Event(), threading.Event()


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # takes the lock to run
def callback(_):
    os.write(1, b"c")
    os.read(0, 1)  # the gate has been closed
    paused.set()
    submitting.wait()
    for _ in range(20):  # gives the lock up, and takes it again
        time.sleep(0.001)
    finished.set()


if cuda.cuLaunchHostFunc(stream, callback, None) != 0:
    sys.exit(3)
paused.wait()
submitting.set()
result = cuda.cuMemsetD8_v2(memory, ctypes.c_ubyte(1), ctypes.c_size_t(64))
os._exit(0 if result == 0 and finished.is_set() else 4)
