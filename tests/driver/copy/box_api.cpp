// Copies of boxes: rows and slices of host memory, device memory and arrays.
#include "tests/driver/context/context.h"
#include "tests/driver/copy/peer.h"
#include "tests/driver/copy/plan.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUresult copy(const CUDA_MEMCPY3D& asked, CUstream hStream, Wait wait) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  CopyPlan plan;
  const CUresult failed = plan_copy(asked, plan);
  return failed ? failed : queue_copy(*stream, plan, wait);
}

// The contexts of arrays are their own, whatever the program says.
CUcontext context_at(CUmemorytype type, CUcontext said) {
  return type == CU_MEMORYTYPE_ARRAY || type == CU_MEMORYTYPE_HOST ? current_handle() : said;
}

CUDA_MEMCPY3D without_peers(const CUDA_MEMCPY3D_PEER& p) {
  CUDA_MEMCPY3D c{};
  c.srcXInBytes = p.srcXInBytes;
  c.srcY = p.srcY;
  c.srcZ = p.srcZ;
  c.srcLOD = p.srcLOD;
  c.srcMemoryType = p.srcMemoryType;
  c.srcHost = p.srcHost;
  c.srcDevice = p.srcDevice;
  c.srcArray = p.srcArray;
  c.srcPitch = p.srcPitch;
  c.srcHeight = p.srcHeight;
  c.dstXInBytes = p.dstXInBytes;
  c.dstY = p.dstY;
  c.dstZ = p.dstZ;
  c.dstLOD = p.dstLOD;
  c.dstMemoryType = p.dstMemoryType;
  c.dstHost = p.dstHost;
  c.dstDevice = p.dstDevice;
  c.dstArray = p.dstArray;
  c.dstPitch = p.dstPitch;
  c.dstHeight = p.dstHeight;
  c.WidthInBytes = p.WidthInBytes;
  c.Height = p.Height;
  c.Depth = p.Depth;
  return c;
}

}  // namespace

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* c) {
  return c ? copy(in_3d(*c), nullptr, Wait::yes) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* c) { return api::cuMemcpy2D_v2(c); }
CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* c, CUstream s) {
  return c ? copy(in_3d(*c), s, Wait::no) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* c) { return c ? copy(*c, nullptr, Wait::yes) : CUDA_ERROR_INVALID_VALUE; }
CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* c, CUstream s) {
  return c ? copy(*c, s, Wait::no) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER* c) {
  if (!c) return CUDA_ERROR_INVALID_VALUE;
  return between_contexts(context_at(c->dstMemoryType, c->dstContext), context_at(c->srcMemoryType, c->srcContext),
                          [&] { return copy(without_peers(*c), nullptr, Wait::yes); });
}
CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER* c, CUstream s) {
  if (!c) return CUDA_ERROR_INVALID_VALUE;
  const CUresult failed =
      check_peers(context_at(c->dstMemoryType, c->dstContext), context_at(c->srcMemoryType, c->srcContext));
  return failed ? failed : copy(without_peers(*c), s, Wait::no);
}

}  // namespace lull::sim::api
