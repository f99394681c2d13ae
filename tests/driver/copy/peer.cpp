#include "tests/driver/copy/peer.h"

#include "tests/driver/registry.h"

namespace lull::sim {
namespace {

CUresult check_peer(CUcontext handle) {
  const auto context = registry<Context>().find(handle);
  return context ? context->error() : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult await_other(CUcontext handle) {
  if (handle == current_handle()) return CUDA_SUCCESS;
  const auto context = registry<Context>().find(handle);
  return context ? context->synchronize() : CUDA_ERROR_INVALID_CONTEXT;
}

}  // namespace

CUresult check_peers(CUcontext to, CUcontext from) {
  if (const CUresult failed = check_peer(to)) return failed;
  return check_peer(from);
}

CUresult between_contexts(CUcontext to, CUcontext from, const std::function<CUresult()>& copy) {
  const Found context = current_context();
  if (!context) return context.error;
  if (const CUresult failed = check_peers(to, from)) return failed;
  for (const CUcontext peer : {to, from}) {
    if (const CUresult failed = await_other(peer)) return failed;
  }
  const CUresult failed = copy();
  const bool alone = to == current_handle() && from == current_handle();
  return failed || alone ? failed : synchronize(*context->default_stream());
}

}  // namespace lull::sim
