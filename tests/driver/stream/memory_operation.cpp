#include "tests/driver/stream/memory_operation.h"

#include "tests/driver/context/context.h"
#include "tests/driver/journal/journal_write.h"
#include "tests/driver/memory/guard.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/memory/touch.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

constexpr std::uint64_t poll_ns = 100'000;
constexpr unsigned most_operations = 255;

template <class T>
bool reached(T now, T value, unsigned flags) {
  switch (flags & 3u) {
    case CU_STREAM_WAIT_VALUE_GEQ: return static_cast<std::make_signed_t<T>>(now - value) >= 0;
    case CU_STREAM_WAIT_VALUE_EQ: return now == value;
    case CU_STREAM_WAIT_VALUE_AND: return (now & value) != 0;
    default: return (~(now | value)) != 0;  // NOR
  }
}

// The word must be mapped device memory or page-locked host memory, when asked for and when its turn comes.
template <class T>
bool word_there(CUdeviceptr at) {
  const Touch touch = classify(at, sizeof(T), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  return touch == Touch::device || touch == Touch::known_host;
}

template <class T>
CUresult write_word(CUdeviceptr at, T value) {
  const bool written = word_there<T>(at) && run_touching_memory([&] { store_touching<T>(at, value); });
  return written ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
}

template <class T>
CUresult await_word(CUdeviceptr at, T value, unsigned flags, Running& running) {
  T now = 0;
  while (!running.life.stop) {
    const bool read = word_there<T>(at) && run_touching_memory([&] { now = load_touching<T>(at); });
    if (!read) return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (reached(now, value, flags)) break;
    running.end_ns = 0;  // it took until now
    sleep_until(now_ns() + poll_ns, running.life);
  }
  return CUDA_SUCCESS;
}

template <class T>
CUresult check_word(CUdeviceptr at, unsigned flags, unsigned known) {
  if ((flags & ~known) || !at || at % sizeof(T)) return CUDA_ERROR_INVALID_VALUE;
  return classify(at, sizeof(T), CU_MEM_ACCESS_FLAGS_PROT_NONE) == Touch::unknown ? CUDA_ERROR_INVALID_VALUE
                                                                                  : CUDA_SUCCESS;
}

CUresult check_wait(const CUstreamBatchMemOpParams& op) {
  constexpr unsigned known = 3u | CU_STREAM_WAIT_VALUE_FLUSH;
  const CUdeviceptr at = op.waitValue.address;
  const unsigned flags = op.waitValue.flags;
  const CUresult wrong = op.operation == CU_STREAM_MEM_OP_WAIT_VALUE_32 ? check_word<std::uint32_t>(at, flags, known)
                                                                        : check_word<std::uint64_t>(at, flags, known);
  if (wrong) return wrong;
  return flags & CU_STREAM_WAIT_VALUE_FLUSH ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

CUresult check_write(const CUstreamBatchMemOpParams& op, MemoryOpVersion version) {
  const unsigned known = version == MemoryOpVersion::v1 ? CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER : 0;
  const CUdeviceptr at = op.writeValue.address;
  const unsigned flags = op.writeValue.flags;
  return op.operation == CU_STREAM_MEM_OP_WRITE_VALUE_32 ? check_word<std::uint32_t>(at, flags, known)
                                                         : check_word<std::uint64_t>(at, flags, known);
}

CUresult check(const CUstreamBatchMemOpParams& op, MemoryOpVersion version) {
  switch (op.operation) {
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
    case CU_STREAM_MEM_OP_WAIT_VALUE_64: return check_wait(op);
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
    case CU_STREAM_MEM_OP_WRITE_VALUE_64: return check_write(op, version);
    case CU_STREAM_MEM_OP_BARRIER:
      return version == MemoryOpVersion::v2 && op.memoryBarrier.flags <= CU_STREAM_MEMORY_BARRIER_TYPE_GPU
                 ? CUDA_SUCCESS
                 : CUDA_ERROR_INVALID_VALUE;
    case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES: return CUDA_ERROR_NOT_SUPPORTED;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult perform(const CUstreamBatchMemOpParams& op, Running& running) {
  switch (op.operation) {
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
      return await_word<std::uint32_t>(op.waitValue.address, op.waitValue.value, op.waitValue.flags, running);
    case CU_STREAM_MEM_OP_WAIT_VALUE_64:
      return await_word<std::uint64_t>(op.waitValue.address, op.waitValue.value64, op.waitValue.flags, running);
    case CU_STREAM_MEM_OP_WRITE_VALUE_32: return write_word<std::uint32_t>(op.writeValue.address, op.writeValue.value);
    case CU_STREAM_MEM_OP_WRITE_VALUE_64:
      return write_word<std::uint64_t>(op.writeValue.address, op.writeValue.value64);
    default: std::atomic_thread_fence(std::memory_order_seq_cst); return CUDA_SUCCESS;
  }
}

CUresult queue(CUstream hStream, std::span<const CUstreamBatchMemOpParams> batch, MemoryOpVersion version) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (const CUresult wrong = check_memory_operations(batch, version)) return wrong;
  return submit(*stream,
                std::make_shared<MemoryOperation>(std::vector<CUstreamBatchMemOpParams>(batch.begin(), batch.end())));
}

CUresult queue_batch(CUstream hStream, unsigned count, const CUstreamBatchMemOpParams* batch, unsigned flags,
                     MemoryOpVersion version) {
  if (count > most_operations || (count && !batch) || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return queue(hStream, {batch, count}, version);
}

template <class T>
CUresult wait_value(CUstream s, CUdeviceptr at, T value, unsigned flags, MemoryOpVersion version) {
  CUstreamBatchMemOpParams op{};
  op.waitValue.operation = sizeof(T) == 4 ? CU_STREAM_MEM_OP_WAIT_VALUE_32 : CU_STREAM_MEM_OP_WAIT_VALUE_64;
  op.waitValue.address = at;
  op.waitValue.value64 = value;
  op.waitValue.flags = flags;
  return queue(s, {&op, 1}, version);
}

template <class T>
CUresult write_value(CUstream s, CUdeviceptr at, T value, unsigned flags, MemoryOpVersion version) {
  CUstreamBatchMemOpParams op{};
  op.writeValue.operation = sizeof(T) == 4 ? CU_STREAM_MEM_OP_WRITE_VALUE_32 : CU_STREAM_MEM_OP_WRITE_VALUE_64;
  op.writeValue.address = at;
  op.writeValue.value64 = value;
  op.writeValue.flags = flags;
  return queue(s, {&op, 1}, version);
}

}  // namespace

CUresult MemoryOperation::run(Running& running) const {
  running.end_ns = running.ready_ns;
  for (const auto& op : batch_) {
    if (const CUresult failed = perform(op, running)) return failed;
  }
  return CUDA_SUCCESS;
}

CUresult check_memory_operations(std::span<const CUstreamBatchMemOpParams> batch, MemoryOpVersion version) {
  for (const auto& op : batch) {
    if (const CUresult wrong = check(op, version)) return wrong;
  }
  return CUDA_SUCCESS;
}

namespace api {

CUresult cuStreamWriteValue32_v2(CUstream s, CUdeviceptr a, cuuint32_t v, unsigned f) {
  return write_value(s, a, v, f, MemoryOpVersion::v2);
}
CUresult cuStreamWriteValue64_v2(CUstream s, CUdeviceptr a, cuuint64_t v, unsigned f) {
  return write_value(s, a, v, f, MemoryOpVersion::v2);
}
CUresult cuStreamWaitValue32_v2(CUstream s, CUdeviceptr a, cuuint32_t v, unsigned f) {
  return wait_value(s, a, v, f, MemoryOpVersion::v2);
}
CUresult cuStreamWaitValue64_v2(CUstream s, CUdeviceptr a, cuuint64_t v, unsigned f) {
  return wait_value(s, a, v, f, MemoryOpVersion::v2);
}
CUresult cuStreamBatchMemOp_v2(CUstream s, unsigned count, CUstreamBatchMemOpParams* batch, unsigned flags) {
  return queue_batch(s, count, batch, flags, MemoryOpVersion::v2);
}

CUresult cuStreamWriteValue32(CUstream s, CUdeviceptr a, cuuint32_t v, unsigned f) {
  return write_value(s, a, v, f, MemoryOpVersion::v1);
}
CUresult cuStreamWriteValue64(CUstream s, CUdeviceptr a, cuuint64_t v, unsigned f) {
  return write_value(s, a, v, f, MemoryOpVersion::v1);
}
CUresult cuStreamWaitValue32(CUstream s, CUdeviceptr a, cuuint32_t v, unsigned f) {
  return wait_value(s, a, v, f, MemoryOpVersion::v1);
}
CUresult cuStreamWaitValue64(CUstream s, CUdeviceptr a, cuuint64_t v, unsigned f) {
  return wait_value(s, a, v, f, MemoryOpVersion::v1);
}
CUresult cuStreamBatchMemOp(CUstream s, unsigned count, CUstreamBatchMemOpParams* batch, unsigned flags) {
  return queue_batch(s, count, batch, flags, MemoryOpVersion::v1);
}

}  // namespace api
}  // namespace lull::sim
