#include "tests/driver/graph/graph_test.h"

using namespace lull::sim::test;

namespace {

bool waits(CUstream stream) { return cuStreamQuery(stream) == CUDA_ERROR_NOT_READY; }

void write(CUdeviceptr at, std::uint32_t value) {
  const CUstream s = new_stream();
  OK(cuStreamWriteValue32_v2(s, at, value, 0));
  OK(cuStreamSynchronize(s));
  OK(cuStreamDestroy_v2(s));
}

}  // namespace

TEST_CASE("a wait on a value is cyclic greater-or-equal, equal, any common bit, or not all bits") {
  const TestContext context;
  Buffer buffer;
  struct Case {
    unsigned flags;
    std::uint32_t value, not_yet, then;
  };
  const Case cases[] = {{CU_STREAM_WAIT_VALUE_GEQ, 2, 0xffffffff, 3},
                        {CU_STREAM_WAIT_VALUE_EQ, 5, 6, 5},
                        {CU_STREAM_WAIT_VALUE_AND, 6, 1, 4},
                        {CU_STREAM_WAIT_VALUE_NOR, 0xf0f0f0f0, 0x0f0f0f0f, 0x0f0f0f0e}};
  for (const Case& c : cases) {
    const CUstream s = new_stream();
    write(buffer.at, c.not_yet);
    OK(cuStreamWaitValue32_v2(s, buffer.at, c.value, c.flags));
    CHECK(waits(s));
    write(buffer.at, c.then);
    OK(cuStreamSynchronize(s));
    OK(cuStreamDestroy_v2(s));
  }
}

TEST_CASE("memory operations check address, alignment and flags") {
  const TestContext context;
  Buffer buffer;
  CHECK_EQ(cuStreamWriteValue32_v2(nullptr, buffer.at + 2, 1, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuStreamWriteValue64_v2(nullptr, buffer.at + 4, 1, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuStreamWriteValue32_v2(nullptr, 0, 1, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuStreamWaitValue32_v2(nullptr, buffer.at, 1, 0x100), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuStreamWaitValue32_v2(nullptr, buffer.at, 1, CU_STREAM_WAIT_VALUE_FLUSH), CUDA_ERROR_NOT_SUPPORTED);
}

TEST_CASE("a write without a barrier is of the first version only") {
  const TestContext context;
  Buffer buffer;
  OK(cuStreamWriteValue32(nullptr, buffer.at, 3, CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER));
  CHECK_EQ(cuStreamWriteValue32_v2(nullptr, buffer.at, 3, CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER),
           CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(buffer.word(), 3);
}

TEST_CASE("a batch is done in its order, and refused whole") {
  const TestContext context;
  Buffer buffer;
  CUstreamBatchMemOpParams batch[3] = {};
  batch[0].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
  batch[0].writeValue.address = buffer.at;
  batch[0].writeValue.value = 1;
  batch[1].waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
  batch[1].waitValue.address = buffer.at;
  batch[1].waitValue.value = 1;
  batch[1].waitValue.flags = CU_STREAM_WAIT_VALUE_EQ;
  batch[2].memoryBarrier.operation = CU_STREAM_MEM_OP_BARRIER;
  OK(cuStreamBatchMemOp_v2(nullptr, 3, batch, 0));
  OK(cuStreamSynchronize(nullptr));
  CHECK_EQ(cuStreamBatchMemOp(nullptr, 3, batch, 0),
           CUDA_ERROR_INVALID_VALUE);  // barriers came with the second version
  CHECK_EQ(cuStreamBatchMemOp_v2(nullptr, 256, batch, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuStreamBatchMemOp_v2(nullptr, 3, batch, 1), CUDA_ERROR_INVALID_VALUE);
  batch[0].writeValue.value = 9;
  batch[2].flushRemoteWrites.operation = CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES;
  CHECK_EQ(cuStreamBatchMemOp_v2(nullptr, 3, batch, 0), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(buffer.word(), 1);
}

TEST_CASE("a memory operation on what has been unmapped is error 700") {
  const TestContext outer;
  const TestContext context;
  CUdeviceptr at = 0;
  OK(cuMemAddressReserve(&at, granule, 0, 0, 0));
  const auto handle = create(granule);
  map(at, granule, handle);
  OK(cuMemsetD8_v2(at, 0, granule));
  const CUstream s = new_stream();
  OK(cuStreamWaitValue32_v2(s, at, 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(cuMemUnmap(at, granule));
  OK(cuMemRelease(handle));
  CHECK_EQ(cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
}
