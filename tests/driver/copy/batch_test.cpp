#include <numeric>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

CUstream own_stream() {
  CUstream s = nullptr;
  OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
  return s;
}

CUmemcpyAttributes ordered(CUmemcpySrcAccessOrder order) {
  CUmemcpyAttributes attributes{};
  attributes.srcAccessOrder = order;
  return attributes;
}

// Two words of the device, filled from two of the host.
struct Pair {
  Pair() {
    OK(cuMemAlloc_v2(&d, 8));
    OK(cuMemsetD8_v2(d, 0, 8));
    OK(cuCtxSynchronize());
    to[0] = d;
    to[1] = d + 4;
    from[0] = reinterpret_cast<CUdeviceptr>(&words[0]);
    from[1] = reinterpret_cast<CUdeviceptr>(&words[1]);
  }
  CUresult copy(CUstream s, std::size_t known = 1) {
    return cuMemcpyBatchAsync_v2(to, from, sizes, 2, attributes, first, known, s);
  }
  std::uint32_t seen(int i) const {
    std::uint32_t word = 0;
    OK(cuMemcpyDtoH_v2(&word, d + 4 * static_cast<unsigned>(i), 4));
    return word;
  }
  CUdeviceptr d = 0, to[2] = {}, from[2] = {};
  std::uint32_t words[2] = {11, 12};
  std::size_t sizes[2] = {4, 4}, first[2] = {0, 1};
  CUmemcpyAttributes attributes[2] = {ordered(CU_MEMCPY_SRC_ACCESS_ORDER_STREAM),
                                      ordered(CU_MEMCPY_SRC_ACCESS_ORDER_ANY)};
};

CUDA_MEMCPY3D_BATCH_OP between(CUdeviceptr from, CUdeviceptr to, std::size_t width) {
  CUDA_MEMCPY3D_BATCH_OP op{};
  op.src.type = op.dst.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
  op.src.op.ptr.ptr = from;
  op.dst.op.ptr.ptr = to;
  op.extent = {width, 1, 1};
  op.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
  return op;
}

}  // namespace

TEST_CASE("a batch makes all its copies") {
  const TestContext context;
  Pair pair;
  const CUstream s = own_stream();
  OK(pair.copy(s, 2));
  OK(cuStreamSynchronize(s));
  CHECK_EQ(pair.seen(0), 11);
  CHECK_EQ(pair.seen(1), 12);
}

TEST_CASE("every copy of a batch has attributes, the first entry for copy 0 and the others rising") {
  const TestContext context;
  Pair pair;
  const CUstream s = own_stream();
  CHECK_EQ(pair.copy(s, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(pair.copy(s, 3), CUDA_ERROR_INVALID_VALUE);
  pair.first[1] = 0;
  CHECK_EQ(pair.copy(s, 2), CUDA_ERROR_INVALID_VALUE);
  pair.first[1] = 2;
  CHECK_EQ(pair.copy(s, 2), CUDA_ERROR_INVALID_VALUE);
  pair.first[0] = 1;
  CHECK_EQ(pair.copy(s, 1), CUDA_ERROR_INVALID_VALUE);
  pair.first[0] = 0;
  pair.attributes[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_INVALID;
  CHECK_EQ(pair.copy(s, 1), CUDA_ERROR_INVALID_VALUE);
  pair.attributes[0] = ordered(CU_MEMCPY_SRC_ACCESS_ORDER_STREAM);
  pair.attributes[0].flags = 2;
  CHECK_EQ(pair.copy(s, 1), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a batch is not for the null stream, but for a thread's own default stream") {
  const TestContext context;
  Pair pair;
  CHECK_EQ(pair.copy(nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(pair.copy(CU_STREAM_LEGACY), CUDA_ERROR_INVALID_VALUE);
  OK(pair.copy(CU_STREAM_PER_THREAD));
}

TEST_CASE("the first form of a batch tells which copy was wrong, and then nothing was copied") {
  const TestContext context;
  Pair pair;
  const CUstream s = own_stream();
  std::size_t failed_at = 77;
  pair.sizes[1] = 4096;  // more than was allocated
  CHECK_EQ(cuMemcpyBatchAsync(pair.to, pair.from, pair.sizes, 2, pair.attributes, pair.first, 1, &failed_at, s),
           CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(failed_at, 1);
  CHECK_EQ(cuMemcpyBatchAsync(nullptr, pair.from, pair.sizes, 2, pair.attributes, pair.first, 1, &failed_at, s),
           CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(failed_at, SIZE_MAX);
  OK(cuStreamSynchronize(s));
  CHECK_EQ(pair.seen(0), 0);
}

TEST_CASE("a source that lives for the call only is read during the call") {
  const TestContext context;
  const CUfunction spin = kernel("spin");
  const CUstream s = own_stream();
  void* flag = nullptr;
  OK(cuMemHostAlloc(&flag, 4, 0));
  *static_cast<volatile std::uint32_t*>(flag) = 0;
  CUdeviceptr at = reinterpret_cast<CUdeviceptr>(flag);
  Pair pair;
  pair.attributes[0] = ordered(CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL);
  OK(launch(spin, 1, s, {&at}));
  OK(pair.copy(s));  // behind a kernel that does not end, and still the source is free
  pair.words[0] = pair.words[1] = 99;
  *static_cast<volatile std::uint32_t*>(flag) = 1;
  OK(cuStreamSynchronize(s));
  CHECK_EQ(pair.seen(0), 11);
  CHECK_EQ(pair.seen(1), 12);
}

TEST_CASE("a batch of boxes takes pointers and arrays, in elements of the array") {
  const TestContext context;
  const CUstream s = own_stream();
  const CUDA_ARRAY3D_DESCRIPTOR shape{8, 4, 0, CU_AD_FORMAT_UNSIGNED_INT32, 1, 0};
  CUarray array = nullptr;
  OK(cuArray3DCreate_v2(&array, &shape));
  std::vector<std::uint32_t> source(8 * 4), result(2 * 2, 0);
  std::iota(source.begin(), source.end(), 0u);
  CUDA_MEMCPY3D_BATCH_OP in{}, out{};
  in.src.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
  in.src.op.ptr.ptr = reinterpret_cast<CUdeviceptr>(source.data());
  in.dst.type = CU_MEMCPY_OPERAND_TYPE_ARRAY;
  in.dst.op.array.array = array;
  in.extent = {8, 4, 1};
  in.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
  OK(cuMemcpy3DBatchAsync_v2(1, &in, 0, s));
  out.src = in.dst;
  out.src.op.array.offset = {3, 1, 0};
  out.dst = in.src;
  out.dst.op.ptr.ptr = reinterpret_cast<CUdeviceptr>(result.data());
  out.extent = {2, 2, 1};
  out.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
  OK(cuMemcpy3DBatchAsync_v2(1, &out, 0, s));
  OK(cuStreamSynchronize(s));
  CHECK_EQ(result[0], 11);
  CHECK_EQ(result[1], 12);
  CHECK_EQ(result[2], 19);
}

TEST_CASE("the boxes of a batch have extents, known operands, rows as long as they are wide, and no flags") {
  const TestContext context;
  const CUstream s = own_stream();
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 64));
  std::size_t failed_at = 77;
  CUDA_MEMCPY3D_BATCH_OP ops[2] = {between(d, d + 32, 8), between(d, d + 32, 0)};
  CHECK_EQ(cuMemcpy3DBatchAsync(2, ops, &failed_at, 0, s), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(failed_at, 1);
  ops[1] = between(d, d + 32, 8);
  ops[1].src.op.ptr.rowLength = 7;
  CHECK_EQ(cuMemcpy3DBatchAsync(2, ops, &failed_at, 0, s), CUDA_ERROR_INVALID_VALUE);
  ops[1].src.op.ptr.rowLength = 8;
  CHECK_EQ(cuMemcpy3DBatchAsync_v2(2, ops, 1, s), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemcpy3DBatchAsync_v2(2, ops, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemcpy3DBatchAsync_v2(0, ops, 0, s), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemcpy3DBatchAsync(2, ops, &failed_at, 0, s));
  CHECK_EQ(failed_at, SIZE_MAX);
  ops[0].dst.type = static_cast<CUmemcpy3DOperandType>(5);
  CHECK_EQ(cuMemcpy3DBatchAsync_v2(2, ops, 0, s), CUDA_ERROR_INVALID_VALUE);
}
