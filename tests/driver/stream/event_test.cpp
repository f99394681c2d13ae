#include "tests/driver/graph/graph_test.h"

using namespace lull::sim::test;

TEST_CASE("an event's time is that of the work before it") {
  const TestContext context;
  Buffer buffer;
  const CUstream s = new_stream();
  const CUevent start = new_event(0), end = new_event(0);
  float ms = -1;
  OK(cuStreamWaitValue32_v2(s, buffer.at, 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(cuEventRecord(start, s));
  OK(cuEventRecord(end, s));
  CHECK_EQ(cuEventElapsedTime_v2(&ms, start, end), CUDA_ERROR_NOT_READY);
  CHECK_EQ(cuEventElapsedTime_v2(nullptr, start, end), CUDA_ERROR_INVALID_VALUE);
  const CUstream other = new_stream();
  OK(cuStreamWriteValue32_v2(other, buffer.at, 1, 0));
  OK(cuEventSynchronize(end));
  OK(cuEventElapsedTime_v2(&ms, start, end));
  CHECK(ms >= 0);
  OK(cuEventElapsedTime_v2(&ms, end, start));
  CHECK(ms <= 0);
}

TEST_CASE("events are recorded in streams of their own context") {
  const TestContext first;
  const CUstream s = new_stream();
  const CUevent event = new_event();
  const TestContext second;
  CHECK_EQ(cuEventRecord(event, nullptr), CUDA_ERROR_INVALID_HANDLE);
  OK(cuEventRecord(event, s));
  OK(cuStreamWaitEvent(nullptr, event, 0));  // but waited for anywhere
  OK(cuCtxSynchronize());
}

TEST_CASE("event flags are checked") {
  const TestContext context;
  CUevent event = nullptr;
  CHECK_EQ(cuEventCreate(&event, 0x80), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuEventCreate(nullptr, 0), CUDA_ERROR_INVALID_VALUE);
  event = new_event(CU_EVENT_BLOCKING_SYNC);
  CHECK_EQ(cuEventRecordWithFlags(event, nullptr, 2), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuStreamWaitEvent(nullptr, event, 2), CUDA_ERROR_INVALID_VALUE);
  OK(cuEventDestroy_v2(event));
  CHECK_EQ(cuEventDestroy_v2(event), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("an event may be destroyed while others wait for it") {
  const TestContext context;
  Buffer buffer;
  const CUstream a = new_stream(), b = new_stream();
  const CUevent event = new_event();
  OK(cuStreamWaitValue32_v2(a, buffer.at, 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(cuEventRecord(event, a));
  OK(cuStreamWaitEvent(b, event, 0));
  OK(cuEventDestroy_v2(event));
  CHECK_EQ(cuStreamQuery(b), CUDA_ERROR_NOT_READY);
  OK(cuStreamWriteValue32_v2(new_stream(), buffer.at, 1, 0));
  OK(cuStreamSynchronize(b));
}

TEST_CASE("a context's event is reached when all its streams have got there, and all wait for it") {
  const TestContext context;
  Buffer buffer;
  const CUstream a = new_stream(), b = new_stream();
  const CUevent event = new_event();
  OK(cuStreamWaitValue32_v2(a, buffer.at, 1, CU_STREAM_WAIT_VALUE_EQ));
  OK(cuCtxRecordEvent(context.handle, event));
  CHECK_EQ(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  OK(cuCtxWaitEvent(context.handle, event));
  OK(cuStreamWriteValue32_v2(b, buffer.at + 4, 1, 0));
  CHECK_EQ(cuStreamQuery(b), CUDA_ERROR_NOT_READY);
  const TestContext other;  // not waiting
  OK(cuStreamWriteValue32_v2(nullptr, buffer.at, 1, 0));
  OK(cuStreamSynchronize(b));
  OK(cuEventSynchronize(event));
  CHECK_EQ(cuCtxRecordEvent(other.handle, event), CUDA_ERROR_INVALID_HANDLE);  // of another context
}

TEST_CASE("an event goes with its context") {
  CUevent event = nullptr;
  {
    const TestContext context;
    event = new_event();
    OK(cuEventRecord(event, nullptr));
    OK(cuEventSynchronize(event));
  }
  const TestContext another;
  CHECK_EQ(cuEventQuery(event), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuStreamWaitEvent(nullptr, event, 0), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuEventDestroy_v2(event), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("the flags for external events are invalid outside of a capture") {
  const TestContext context;
  const CUstream stream = new_stream();
  const CUevent event = new_event();
  CHECK_EQ(cuEventRecordWithFlags(event, stream, CU_EVENT_RECORD_EXTERNAL), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuStreamWaitEvent(stream, event, CU_EVENT_WAIT_EXTERNAL), CUDA_ERROR_INVALID_VALUE);
  OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  OK(cuEventRecordWithFlags(event, stream, CU_EVENT_RECORD_EXTERNAL));
  OK(cuStreamWaitEvent(stream, event, CU_EVENT_WAIT_EXTERNAL));
  CUgraph graph = nullptr;
  OK(cuStreamEndCapture(stream, &graph));
  OK(cuGraphDestroy(graph));
}
