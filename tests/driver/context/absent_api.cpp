// What this driver does not offer, with the arguments checked as cuda.h says before the answer that it is not there:
// green contexts (nothing of the card can be set aside), core dumps (the simulated cores have no state to dump),
// driver logs (none are kept; findings go to the journal), checkpoints of processes (driver-managed host copies),
// notifications (nothing is ever over budget), and identifiers of other systems.
#include "tests/driver/context/context.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUresult absent_unless(bool wrong) { return wrong ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_SUPPORTED; }

CUresult absent_on(CUdevice device, bool wrong) {
  return device_of(device) ? absent_unless(wrong) : CUDA_ERROR_INVALID_DEVICE;
}

bool known(CUcoredumpSettings setting) {
  return setting >= CU_COREDUMP_ENABLE_ON_EXCEPTION && setting < CU_COREDUMP_MAX;
}

CUresult coredump(CUcoredumpSettings setting, const void* value, const size_t* size) {
  return absent_unless(!known(setting) || !value || !size);
}

CUresult coredump_of_context(CUcoredumpSettings setting, const void* value, const size_t* size) {
  const Found context = current_context();
  return context ? coredump(setting, value, size) : context.error;
}

}  // namespace

CUresult cuDeviceGetLuid(char* luid, unsigned* deviceNodeMask, CUdevice dev) {
  return absent_on(dev, !luid || !deviceNodeMask);  // an identifier of Windows
}
CUresult cuDeviceGetNvSciSyncAttributes(void* list, CUdevice dev, int flags) {
  constexpr int all = CUDA_NVSCISYNC_ATTR_SIGNAL | CUDA_NVSCISYNC_ATTR_WAIT;
  return absent_on(dev, !list || flags == 0 || (flags & ~all));
}
CUresult cuDeviceRegisterAsyncNotification(CUdevice device, CUasyncCallback function, void*,
                                           CUasyncCallbackHandle* callback) {
  return absent_on(device, !function || !callback);
}
CUresult cuDeviceUnregisterAsyncNotification(CUdevice device, CUasyncCallbackHandle callback) {
  return absent_on(device, !callback);
}

CUresult cuDevSmResourceSplitByCount(CUdevResource*, unsigned* groups, const CUdevResource* input, CUdevResource*,
                                     unsigned, unsigned) {
  if (!groups || !input) return CUDA_ERROR_INVALID_VALUE;
  return input->type == CU_DEV_RESOURCE_TYPE_SM ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_RESOURCE_TYPE;
}
CUresult cuDevResourceGenerateDesc(CUdevResourceDesc* desc, CUdevResource* resources, unsigned count) {
  return absent_unless(!desc || !resources || count == 0);
}
CUresult cuGreenCtxCreate(CUgreenCtx* ctx, CUdevResourceDesc, CUdevice dev, unsigned flags) {
  return absent_on(dev, !ctx || flags != CU_GREEN_CTX_DEFAULT_STREAM);
}
// No green context was ever made, so every handle of one is wrong.
CUresult cuGreenCtxDestroy(CUgreenCtx) { return CUDA_ERROR_INVALID_CONTEXT; }
CUresult cuGreenCtxGetDevResource(CUgreenCtx, CUdevResource*, CUdevResourceType) { return CUDA_ERROR_INVALID_CONTEXT; }
CUresult cuGreenCtxGetId(CUgreenCtx, unsigned long long*) { return CUDA_ERROR_INVALID_CONTEXT; }
CUresult cuGreenCtxRecordEvent(CUgreenCtx, CUevent) { return CUDA_ERROR_INVALID_CONTEXT; }
CUresult cuGreenCtxWaitEvent(CUgreenCtx, CUevent) { return CUDA_ERROR_INVALID_CONTEXT; }
CUresult cuGreenCtxStreamCreate(CUstream*, CUgreenCtx, unsigned, int) { return CUDA_ERROR_INVALID_CONTEXT; }
CUresult cuCtxFromGreenCtx(CUcontext*, CUgreenCtx) { return CUDA_ERROR_INVALID_CONTEXT; }
// "Set to NULL if the stream is not associated with a green context."
CUresult cuStreamGetGreenCtx(CUstream hStream, CUgreenCtx* phCtx) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!phCtx) return CUDA_ERROR_INVALID_VALUE;
  *phCtx = nullptr;
  return CUDA_SUCCESS;
}

CUresult cuCoredumpGetAttribute(CUcoredumpSettings setting, void* value, size_t* size) {
  return coredump_of_context(setting, value, size);
}
CUresult cuCoredumpSetAttribute(CUcoredumpSettings setting, void* value, size_t* size) {
  return coredump_of_context(setting, value, size);
}
CUresult cuCoredumpGetAttributeGlobal(CUcoredumpSettings setting, void* value, size_t* size) {
  return coredump(setting, value, size);
}
CUresult cuCoredumpSetAttributeGlobal(CUcoredumpSettings setting, void* value, size_t* size) {
  return coredump(setting, value, size);
}

CUresult cuLogsRegisterCallback(CUlogsCallback function, void*, CUlogsCallbackHandle* callback) {
  return absent_unless(!function || !callback);
}
CUresult cuLogsUnregisterCallback(CUlogsCallbackHandle callback) { return absent_unless(!callback); }
CUresult cuLogsCurrent(CUlogIterator* iterator, unsigned flags) { return absent_unless(!iterator || flags != 0); }
CUresult cuLogsDumpToFile(CUlogIterator*, const char* path, unsigned flags) {
  return absent_unless(!path || flags != 0);
}
CUresult cuLogsDumpToMemory(CUlogIterator*, char* buffer, size_t* size, unsigned flags) {
  return absent_unless(!buffer || !size || flags != 0);
}

CUresult cuCheckpointProcessLock(int pid, CUcheckpointLockArgs*) { return absent_unless(pid <= 0); }
CUresult cuCheckpointProcessCheckpoint(int pid, CUcheckpointCheckpointArgs*) { return absent_unless(pid <= 0); }
CUresult cuCheckpointProcessRestore(int pid, CUcheckpointRestoreArgs*) { return absent_unless(pid <= 0); }
CUresult cuCheckpointProcessUnlock(int pid, CUcheckpointUnlockArgs*) { return absent_unless(pid <= 0); }
CUresult cuCheckpointProcessGetState(int pid, CUprocessState* state) { return absent_unless(pid <= 0 || !state); }
CUresult cuCheckpointProcessGetRestoreThreadId(int pid, int* tid) { return absent_unless(pid <= 0 || !tid); }

}  // namespace lull::sim::api
