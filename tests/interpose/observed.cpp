// Programs for observe_test.py, unaware of Lull: one for each thing that an account has to tell.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "tests/interpose/rows.h"

namespace {

constexpr std::size_t mib = 1 << 20;

void ok(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s: %d\n", call, static_cast<int>(result));
  ::_exit(3);
}
#define OK(call) ok(call, #call)

void start() {
  CUcontext context = nullptr;
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxRetain(&context, 0));
  OK(cuCtxSetCurrent(context));
}

CUdeviceptr allocate(std::size_t bytes) {
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, bytes));
  return at;
}

void virtual_memory() {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  CUmemGenericAllocationHandle handle = 0, again = 0;
  CUdeviceptr at = 0;
  int shared = -1;
  OK(cuMemAddressReserve(&at, 8 * mib, 0, 0, 0));
  OK(cuMemCreate(&handle, 4 * mib, &properties, 0));
  OK(cuMemMap(at, 4 * mib, 0, handle, 0));
  OK(cuMemMap(at + 4 * mib, 4 * mib, 0, handle, 0));
  OK(cuMemUnmap(at, 8 * mib));
  OK(cuMemMap(at, 4 * mib, 0, handle, 0));
  OK(cuMemExportToShareableHandle(&shared, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  OK(cuMemImportFromShareableHandle(&again, reinterpret_cast<void*>(static_cast<std::intptr_t>(shared)),
                                    CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
}

void arrays_and_graphs() {
  CUDA_ARRAY_DESCRIPTOR flat{1024, 512, CU_AD_FORMAT_FLOAT, 4};
  CUarray array = nullptr;
  OK(cuArrayCreate_v2(&array, &flat));
  OK(cuArrayDestroy(array));
  OK(cuArrayCreate_v2(&array, &flat));
  CUgraph graph = nullptr;
  CUgraphNode node = nullptr;
  CUDA_MEM_ALLOC_NODE_PARAMS parameters{};
  parameters.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  parameters.poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  parameters.bytesize = 3 * mib;
  OK(cuGraphCreate(&graph, 0));
  OK(cuGraphAddMemAllocNode(&node, graph, nullptr, 0, &parameters));
}

// Every kind of memory.
int kinds() {
  start();
  const CUdeviceptr first = allocate(8 * mib), second = allocate(4 * mib);
  OK(cuMemFree_v2(first));
  if (cuMemFree_v2(first + 1) == CUDA_SUCCESS) return 4;  // a free that fails frees nothing
  (void)allocate(2 * mib);
  CUdeviceptr pooled = 0, managed = 0;
  OK(cuMemAllocAsync(&pooled, 6 * mib, nullptr));
  OK(cuMemFreeAsync(pooled, nullptr));
  OK(cuMemAllocAsync_ptsz(&pooled, 5 * mib, nullptr));
  OK(cuMemFree_v2(pooled));
  OK(cuMemAllocManaged(&managed, 7 * mib, CU_MEM_ATTACH_GLOBAL));
  void* host = nullptr;
  OK(cuMemHostAlloc(&host, 64 << 10, 0));
  OK(cuMemFreeHost(host));
  alignas(4096) static char pages[8192];
  OK(cuMemHostRegister_v2(pages, sizeof pages, 0));
  CUipcMemHandle shared;
  OK(cuIpcGetMemHandle(&shared, second));
  virtual_memory();
  arrays_and_graphs();
  return 0;
}

// The same function by three routes; and what the driver says of its size, which is the card's.
int ways() {
  start();
  const CUdeviceptr at = allocate(mib);
  OK(cuMemsetD8_v2(at, 1, 16));
  auto* by_name =
      reinterpret_cast<decltype(&cuMemsetD8_v2)>(::dlsym(::dlopen("libcuda.so.1", RTLD_NOW), "cuMemsetD8_v2"));
  OK(by_name(at, 2, 16));
  void* looked_up = nullptr;
  OK(cuGetProcAddress_v2("cuMemsetD8", &looked_up, 13000, 0, nullptr));
  OK(reinterpret_cast<decltype(&cuMemsetD8_v2)>(looked_up)(at, 3, 16));
  std::size_t free = 0, total = 0;
  OK(cuMemGetInfo_v2(&free, &total));
  std::printf("%zu\n", total);
  return 0;
}

int fork_twice() {
  for (bool uses : {false, true}) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (uses) {
        start();
        (void)allocate(mib);
      }
      std::exit(0);
    }
    (void)::waitpid(child, nullptr, 0);
  }
  start();
  (void)allocate(2 * mib);
  const pid_t late = ::fork();
  if (late == 0) std::exit(0);  // it has done nothing itself
  (void)::waitpid(late, nullptr, 0);
  return 0;
}

// Ends that can be seen, and ends that cannot.
int end(std::string_view how, char* self) {
  start();
  (void)allocate(3 * mib);
  if (how == "return") return 5;
  if (how == "exit-elsewhere") std::thread([] { std::exit(5); }).join();
  if (how == "abort") std::abort();
  if (how == "exec") {
    char name[] = "nothing";
    char* const arguments[] = {self, name, nullptr};
    (void)::execv(self, arguments);
  }
  ::_exit(5);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view role = argc > 1 ? argv[1] : "";
  if (role == "kinds") return kinds();
  if (role == "ways") return ways();
  if (role == "fork") return fork_twice();
  if (role == "end" && argc > 2) return end(argv[2], argv[0]);
  return role == "nothing" ? 0 : 64;
}
