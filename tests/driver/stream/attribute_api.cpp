// Attributes of streams.
#include <mutex>

#include "tests/driver/context/context.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

bool of_streams(CUstreamAttrID id) {
  return id == CU_STREAM_ATTRIBUTE_ACCESS_POLICY_WINDOW || id == CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY ||
         id == CU_STREAM_ATTRIBUTE_PRIORITY || id == CU_STREAM_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP ||
         id == CU_STREAM_ATTRIBUTE_MEM_SYNC_DOMAIN;
}

CUresult check(CUstreamAttrID id, const CUstreamAttrValue& value) {
  if (!of_streams(id) || id == CU_STREAM_ATTRIBUTE_PRIORITY) return CUDA_ERROR_INVALID_VALUE;  // fixed at creation
  const bool policy = id == CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY;
  const bool known = value.syncPolicy >= CU_SYNC_POLICY_AUTO && value.syncPolicy <= CU_SYNC_POLICY_BLOCKING_SYNC;
  return policy && !known ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

}  // namespace

CUresult cuStreamGetAttribute(CUstream hStream, CUstreamAttrID attr, CUstreamAttrValue* value_out) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!value_out || !of_streams(attr)) return CUDA_ERROR_INVALID_VALUE;
  *value_out = stream->attribute(attr);
  return CUDA_SUCCESS;
}

CUresult cuStreamSetAttribute(CUstream hStream, CUstreamAttrID attr, const CUstreamAttrValue* value) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!value) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = check(attr, *value)) return wrong;
  stream->set_attribute(attr, *value);
  return CUDA_SUCCESS;
}

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src) {
  const FoundStream to = find_stream(dst), from = find_stream(src);
  if (!to) return to.error;
  if (!from) return from.error;
  if (to->context() != from->context()) return CUDA_ERROR_INVALID_VALUE;
  for (const auto& [id, value] : from->attributes()) to->set_attribute(id, value);
  return CUDA_SUCCESS;
}

}  // namespace lull::sim::api
