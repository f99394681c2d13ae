// Events between processes: the handle goes by the environment, the rest by the card.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

constexpr unsigned shared_flags = CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING;

std::string text_of(const CUipcEventHandle& handle) {
  std::string text;
  char byte[3];
  for (const char c : handle.reserved) {
    std::snprintf(byte, sizeof byte, "%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    text += byte;
  }
  return text;
}

CUipcEventHandle handle_in(const std::string& text) {
  CUipcEventHandle handle{};
  for (std::size_t i = 0; i < sizeof handle.reserved && 2 * i + 1 < text.size(); ++i)
    handle.reserved[i] = static_cast<char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return handle;
}

// A page-locked word that a kernel spins on until the host says otherwise.
struct Gate {
  Gate() {
    void* raw = nullptr;
    OK(cuMemHostAlloc(&raw, 4, CU_MEMHOSTALLOC_DEVICEMAP));
    word = static_cast<std::uint32_t*>(raw);
    *word = 0;
  }
  ~Gate() { (void)cuMemFreeHost(word); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  void hold(CUstream stream) {
    auto at = reinterpret_cast<CUdeviceptr>(word);
    OK(launch(kernel("spin"), 1, stream, {&at}));
  }
  void open() { std::atomic_ref(*word).store(1); }
  std::uint32_t* word = nullptr;
};

CUevent new_shared_event() {
  CUevent event = nullptr;
  OK(cuEventCreate(&event, shared_flags));
  return event;
}

CUipcEventHandle exported(CUevent event) {
  CUipcEventHandle handle{};
  OK(cuIpcGetEventHandle(&handle, event));
  return handle;
}

void say(CUresult result) {
  std::printf("%d\n", static_cast<int>(result));
  std::fflush(stdout);
}
std::string number(CUresult result) { return std::to_string(static_cast<int>(result)); }

// Opens the event, waits for its maker's record on a stream, then records it behind work of its own.
ChildRole opener("open-event", [] {
  OK(cuInit(0));
  const TestContext context;
  CUevent event = nullptr;
  CUipcEventHandle again{};
  OK(cuIpcOpenEventHandle(&event, handle_in(::getenv("LULL_TEST_EVENT"))));
  const CUstream stream = new_stream();
  say(cuIpcGetEventHandle(&again, event));  // only its maker exports it
  OK(cuStreamWaitEvent(stream, event, 0));
  say(cuEventQuery(event));
  say(cuStreamQuery(stream));
  say(cuStreamSynchronize(stream));  // once the maker's work is over
  Gate gate;
  gate.hold(stream);
  OK(cuEventRecord(event, stream));
  say(cuEventQuery(event));
  (void)std::getchar();
  gate.open();
  OK(cuEventSynchronize(event));
  OK(cuEventDestroy_v2(event));
  return 0;
});

// Records an event behind work that never ends.
ChildRole maker("make-event", [] {
  OK(cuInit(0));
  const TestContext context;
  Gate gate;
  const CUevent event = new_shared_event();
  const CUstream stream = new_stream();
  gate.hold(stream);
  OK(cuEventRecord(event, stream));
  std::printf("%s\n", text_of(exported(event)).c_str());
  std::fflush(stdout);
  (void)std::getchar();
  return 0;
});

}  // namespace

TEST_CASE("an interprocess event orders the work of two processes, whichever of them records it") {
  const TestContext context;
  int supported = 0;
  OK(cuDeviceGetAttribute(&supported, CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED, 0));
  CHECK_EQ(supported, 1);
  Gate gate;
  const CUevent event = new_shared_event();
  const CUstream stream = new_stream();
  gate.hold(stream);
  OK(cuEventRecord(event, stream));
  Child child("open-event", {"LULL_TEST_EVENT=" + text_of(exported(event))});
  CHECK_EQ(child.line(), number(CUDA_ERROR_INVALID_HANDLE));
  CHECK_EQ(child.line(), number(CUDA_ERROR_NOT_READY));
  CHECK_EQ(child.line(), number(CUDA_ERROR_NOT_READY));
  gate.open();
  CHECK_EQ(child.line(), number(CUDA_SUCCESS));
  CHECK_EQ(child.line(), number(CUDA_ERROR_NOT_READY));  // it has recorded the event anew
  CHECK_EQ(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  OK(cuStreamWaitEvent(stream, event, 0));
  CHECK_EQ(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
  child.release();
  OK(cuEventSynchronize(event));
  OK(cuStreamSynchronize(stream));
  CHECK_EQ(child.wait(), 0);
  OK(cuEventDestroy_v2(event));
}

TEST_CASE("what a killed process was to record is waited for no longer, and its event cannot be opened") {
  const TestContext context;
  Child child("make-event");
  const CUipcEventHandle handle = handle_in(child.line());
  CUevent event = nullptr, late = nullptr;
  OK(cuIpcOpenEventHandle(&event, handle));
  CHECK_EQ(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  const CUstream stream = new_stream();
  OK(cuStreamWaitEvent(stream, event, 0));
  child.kill();
  OK(cuStreamSynchronize(stream));
  OK(cuEventSynchronize(event));
  (void)child.wait();
  CHECK_EQ(cuIpcOpenEventHandle(&late, handle), CUDA_ERROR_INVALID_HANDLE);
  OK(cuEventDestroy_v2(event));
}

TEST_CASE("an interprocess event has no time, and is opened elsewhere than in its process") {
  const TestContext context;
  CUevent event = nullptr, opened = nullptr;
  CUipcEventHandle handle{};
  CHECK_EQ(cuEventCreate(&event, CU_EVENT_INTERPROCESS), CUDA_ERROR_INVALID_VALUE);
  OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  CHECK_EQ(cuIpcGetEventHandle(&handle, event), CUDA_ERROR_INVALID_HANDLE);  // not made for it
  CHECK_EQ(cuIpcGetEventHandle(&handle, nullptr), CUDA_ERROR_INVALID_HANDLE);
  OK(cuEventDestroy_v2(event));
  event = new_shared_event();
  CHECK_EQ(cuIpcGetEventHandle(nullptr, event), CUDA_ERROR_INVALID_VALUE);
  handle = exported(event);
  CHECK_EQ(cuIpcOpenEventHandle(nullptr, handle), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuIpcOpenEventHandle(&opened, handle), CUDA_ERROR_INVALID_CONTEXT);
  CHECK_EQ(cuIpcOpenEventHandle(&opened, CUipcEventHandle{}), CUDA_ERROR_INVALID_HANDLE);
  OK(cuEventRecord(event, nullptr));
  OK(cuStreamWaitEvent(new_stream(), event, 0));
  OK(cuCtxSynchronize());
  CHECK_EQ(cuEventQuery(event), CUDA_SUCCESS);
  OK(cuEventDestroy_v2(event));
}
