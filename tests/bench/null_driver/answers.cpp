// The few functions whose answers the shim needs to become active: one device of 1 GiB, one context. All others are in
// everything.S.
#include <cuda.h>

#include <cstddef>
#include <cstring>

namespace {

constexpr std::size_t device_bytes = 1ull << 30;
int something;  // what every handle points at

CUcontext the_context() { return reinterpret_cast<CUcontext>(&something); }

CUresult uuid(CUuuid* out) {
  std::memset(out->bytes, 0x11, sizeof out->bytes);
  return CUDA_SUCCESS;
}

}  // namespace

extern "C" {

CUresult cuDeviceGetCount(int* count) { return *count = 1, CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice* device, int) { return *device = 0, CUDA_SUCCESS; }
CUresult cuDeviceGetUuid(CUuuid* out, CUdevice) { return uuid(out); }
CUresult cuDeviceGetUuid_v2(CUuuid* out, CUdevice) { return uuid(out); }
CUresult cuDeviceTotalMem_v2(std::size_t* bytes, CUdevice) { return *bytes = device_bytes, CUDA_SUCCESS; }
CUresult cuMemGetInfo_v2(std::size_t* free, std::size_t* total) { return *free = *total = device_bytes, CUDA_SUCCESS; }

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) { return *context = the_context(), CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* flags, int* alive) {
  return *flags = 0, *alive = 1, CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext* context) { return *context = the_context(), CUDA_SUCCESS; }
CUresult cuCtxPopCurrent_v2(CUcontext* context) {
  if (context) *context = the_context();
  return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice* device) { return *device = 0, CUDA_SUCCESS; }
CUresult cuStreamGetCtx(CUstream, CUcontext* context) { return *context = the_context(), CUDA_SUCCESS; }
CUresult cuStreamIsCapturing(CUstream, CUstreamCaptureStatus* status) {
  return *status = CU_STREAM_CAPTURE_STATUS_NONE, CUDA_SUCCESS;
}
CUresult cuStreamCreate(CUstream* stream, unsigned) {
  return *stream = reinterpret_cast<CUstream>(&something), CUDA_SUCCESS;
}
CUresult cuEventCreate(CUevent* event, unsigned) {
  return *event = reinterpret_cast<CUevent>(&something), CUDA_SUCCESS;
}
CUresult cuGetExportTable(const void**, const CUuuid*) { return CUDA_ERROR_NOT_FOUND; }

// Under other names than the driver API's, so that no look-up of them is answered by a preloaded library.
CUresult null_launch(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**,
                     void**) {
  return CUDA_SUCCESS;
}
CUresult null_copy(CUdeviceptr, const void*, std::size_t, CUstream) { return CUDA_SUCCESS; }
CUresult null_record(CUevent, CUstream) { return CUDA_SUCCESS; }
}
