// For secure_test.py: uses the GPU as any program does, and says whether it runs in secure execution.
#include <sys/auxv.h>
#include <sys/stat.h>

#include <cstdio>

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

int main() {
  CUcontext context = nullptr;
  CUdeviceptr at = 0;
  const bool works = cuInit(0) == CUDA_SUCCESS && cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS &&
                     cuCtxSetCurrent(context) == CUDA_SUCCESS && cuMemAlloc_v2(&at, 1 << 20) == CUDA_SUCCESS &&
                     cuMemsetD8_v2(at, 1, 16) == CUDA_SUCCESS && cuMemFree_v2(at) == CUDA_SUCCESS;
  std::printf("%s %s\n", getauxval(AT_SECURE) ? "secure" : "plain", works ? "works" : "fails");
  return 0;
}
