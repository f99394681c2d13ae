// Batches of copies. All of a batch is checked before any of it is queued; queued copies run one after another, which
// is one of the orders a batch may take.
#include <vector>

#include "tests/driver/array/array.h"
#include "tests/driver/context/context.h"
#include "tests/driver/copy/plan.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

struct Queued {
  CopyPlan plan;
  Wait wait;
};

struct Batch {
  std::vector<Queued> copies;
  std::size_t failed_at = SIZE_MAX;  // SIZE_MAX: not one copy's fault

  CUresult fail(CUresult with, std::size_t at) {
    failed_at = at;
    return with;
  }
};

bool known_order(CUmemcpySrcAccessOrder order, unsigned flags) {
  return order >= CU_MEMCPY_SRC_ACCESS_ORDER_STREAM && order <= CU_MEMCPY_SRC_ACCESS_ORDER_ANY &&
         (flags & ~static_cast<unsigned>(CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE)) == 0;
}
Wait wait_of(CUmemcpySrcAccessOrder order) {
  return order == CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL ? Wait::source_read : Wait::no;
}

// The null stream, and what means it, is refused.
CUresult check_stream(const FoundStream& stream) {
  if (!stream) return stream.error;
  return stream->kind() == Stream::Kind::legacy ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult queue(Stream& stream, const Batch& batch) {
  for (const Queued& copy : batch.copies) {
    if (const CUresult failed = queue_copy(stream, copy.plan, copy.wait)) return failed;
  }
  return CUDA_SUCCESS;
}

// The first entry is for copy 0, the others for rising ones, all of them there.
bool attributes_fit(const CUmemcpyAttributes* attrs, const size_t* indices, std::size_t known, std::size_t count) {
  if (!attrs || !indices || known == 0 || known > count || indices[0] != 0) return false;
  for (std::size_t i = 0; i < known; ++i) {
    if (indices[i] >= count || (i && indices[i] <= indices[i - 1])) return false;
    if (!known_order(attrs[i].srcAccessOrder, attrs[i].flags)) return false;
  }
  return true;
}

struct Rows {
  CUdeviceptr *dsts, *srcs;
  size_t *sizes, count;
  const CUmemcpyAttributes* attrs;
  const size_t* indices;
  std::size_t known;
};

CUresult plan_rows(const Rows& rows, Batch& batch) {
  if (!rows.dsts || !rows.srcs || !rows.sizes || rows.count == 0) return CUDA_ERROR_INVALID_VALUE;
  if (!attributes_fit(rows.attrs, rows.indices, rows.known, rows.count)) return CUDA_ERROR_INVALID_VALUE;
  std::size_t set = 0;
  for (std::size_t i = 0; i < rows.count; ++i) {
    while (set + 1 < rows.known && rows.indices[set + 1] <= i) ++set;
    CopyPlan plan{{.to = {rows.dsts[i]}, .from = {rows.srcs[i]}, .width = rows.sizes[i]},
                  route_between(rows.dsts[i], rows.srcs[i])};
    if (const CUresult failed = check_copy(plan.box, plan.route)) return batch.fail(failed, i);
    batch.copies.push_back({plan, wait_of(rows.attrs[set].srcAccessOrder)});
  }
  return CUDA_SUCCESS;
}

CUresult copy_rows(const Rows& rows, CUstream hStream, size_t* failIdx) {
  Batch batch;
  const FoundStream stream = find_stream(hStream);
  CUresult result = check_stream(stream);
  if (!result) result = plan_rows(rows, batch);
  if (failIdx) *failIdx = batch.failed_at;
  return result ? result : queue(*stream, batch);
}

// Elements of one byte unless an array says otherwise; two arrays must agree. 0: they do not, or are none.
std::size_t element_bytes(const CUDA_MEMCPY3D_BATCH_OP& op) {
  std::size_t bytes = 0;
  for (const auto* operand : {&op.src, &op.dst}) {
    if (operand->type != CU_MEMCPY_OPERAND_TYPE_ARRAY) continue;
    const auto array = find_array(operand->op.array.array);
    if (!array || (bytes && bytes != array->element_bytes)) return 0;
    bytes = array->element_bytes;
  }
  return bytes ? bytes : 1;
}

// One operand in the terms of CUDA_MEMCPY3D.
struct Operand {
  CUmemorytype type = CU_MEMORYTYPE_UNIFIED;
  CUdeviceptr device = 0;
  CUarray array = nullptr;
  std::size_t x = 0, y = 0, z = 0, pitch = 0, height = 0;
};

bool read_operand(const CUmemcpy3DOperand& from, std::size_t element, Operand& out) {
  if (from.type == CU_MEMCPY_OPERAND_TYPE_ARRAY) {
    out.type = CU_MEMORYTYPE_ARRAY;
    out.array = from.op.array.array;
    out.y = from.op.array.offset.y;
    out.z = from.op.array.offset.z;
    return !__builtin_mul_overflow(from.op.array.offset.x, element, &out.x);
  }
  if (from.type != CU_MEMCPY_OPERAND_TYPE_POINTER) return false;
  out.device = from.op.ptr.ptr;
  out.height = from.op.ptr.layerHeight;
  return !__builtin_mul_overflow(from.op.ptr.rowLength, element, &out.pitch);
}

bool read_op(const CUDA_MEMCPY3D_BATCH_OP& op, CUDA_MEMCPY3D& c) {
  const CUextent3D& extent = op.extent;
  const std::size_t element = element_bytes(op);
  Operand src, dst;
  if (!element || !extent.width || !extent.height || !extent.depth || !known_order(op.srcAccessOrder, op.flags))
    return false;
  if (!read_operand(op.src, element, src) || !read_operand(op.dst, element, dst) ||
      __builtin_mul_overflow(extent.width, element, &c.WidthInBytes))
    return false;
  c.srcMemoryType = src.type;
  c.srcDevice = src.device;
  c.srcArray = src.array;
  c.srcXInBytes = src.x;
  c.srcY = src.y;
  c.srcZ = src.z;
  c.srcPitch = src.pitch;
  c.srcHeight = src.height;
  c.dstMemoryType = dst.type;
  c.dstDevice = dst.device;
  c.dstArray = dst.array;
  c.dstXInBytes = dst.x;
  c.dstY = dst.y;
  c.dstZ = dst.z;
  c.dstPitch = dst.pitch;
  c.dstHeight = dst.height;
  c.Height = extent.height;
  c.Depth = extent.depth;
  return true;
}

CUresult plan_boxes(std::size_t count, const CUDA_MEMCPY3D_BATCH_OP* ops, Batch& batch) {
  if (!ops || count == 0) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < count; ++i) {
    CUDA_MEMCPY3D asked{};
    CopyPlan plan;
    if (!read_op(ops[i], asked)) return batch.fail(CUDA_ERROR_INVALID_VALUE, i);
    if (const CUresult failed = plan_copy(asked, plan)) return batch.fail(failed, i);
    if (const CUresult failed = check_copy(plan.box, plan.route)) return batch.fail(failed, i);
    batch.copies.push_back({plan, wait_of(ops[i].srcAccessOrder)});
  }
  return CUDA_SUCCESS;
}

CUresult copy_boxes(std::size_t count, const CUDA_MEMCPY3D_BATCH_OP* ops, unsigned long long flags, CUstream hStream,
                    size_t* failIdx) {
  Batch batch;
  const FoundStream stream = find_stream(hStream);
  CUresult result = check_stream(stream);
  if (!result && flags != 0) result = CUDA_ERROR_INVALID_VALUE;
  if (!result) result = plan_boxes(count, ops, batch);
  if (failIdx) *failIdx = batch.failed_at;
  return result ? result : queue(*stream, batch);
}

}  // namespace

CUresult cuMemcpyBatchAsync(CUdeviceptr* dsts, CUdeviceptr* srcs, size_t* sizes, size_t count,
                            CUmemcpyAttributes* attrs, size_t* attrsIdxs, size_t numAttrs, size_t* failIdx,
                            CUstream s) {
  return copy_rows({dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs}, s, failIdx);
}
CUresult cuMemcpyBatchAsync_v2(CUdeviceptr* dsts, CUdeviceptr* srcs, size_t* sizes, size_t count,
                               CUmemcpyAttributes* attrs, size_t* attrsIdxs, size_t numAttrs, CUstream s) {
  return copy_rows({dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs}, s, nullptr);
}
CUresult cuMemcpy3DBatchAsync(size_t numOps, CUDA_MEMCPY3D_BATCH_OP* ops, size_t* failIdx, unsigned long long flags,
                              CUstream s) {
  return copy_boxes(numOps, ops, flags, s, failIdx);
}
CUresult cuMemcpy3DBatchAsync_v2(size_t numOps, CUDA_MEMCPY3D_BATCH_OP* ops, unsigned long long flags, CUstream s) {
  return copy_boxes(numOps, ops, flags, s, nullptr);
}

}  // namespace lull::sim::api
