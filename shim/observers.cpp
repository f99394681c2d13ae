// What stands between real::X and the driver while the shim observes: every row that is gated is counted, and so is
// what makes, takes away, or shares memory.
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "shim/array_bytes.h"
#include "shim/observe.h"
#include "shim/rows.h"

namespace lull::observe {
namespace {

enum Id : unsigned {
#define HOOK(symbol, ...) id_##symbol,
#include "shim/hooks.def"
#undef HOOK
  row_total
};

std::atomic<void*> driver_words[row_total];

// What is noted of a call that has succeeded; and, for a call that takes memory away, which.
template <auto& function>
struct After;
template <auto& function>
struct Frees;
#define AFTER(name) \
  template <>       \
  struct After<real::name>
#define FREES(name) \
  template <>       \
  struct Frees<real::name>

template <class T>
std::uint64_t key(T value) {
  if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<std::uint64_t>(value);
  else
    return static_cast<std::uint64_t>(value);
}
std::uint64_t key_of_handle(CUmemGenericAllocationHandle handle) { return ~handle; }

template <Kind kind>
struct Allocates {
  template <class T, class... Rest>
  static void note(T* at, std::size_t bytes, Rest...) {
    add(kind, key(*at), bytes);
  }
};
struct FreesFirst {
  template <class T, class... Rest>
  static std::uint64_t key_of(T at, Rest...) {
    return key(at);
  }
};
struct MakesContext {
  template <class... Args>
  static void note(Args...) {
    made_context();
  }
};
struct LoadsModule {
  template <class... Args>
  static void note(Args...) {
    loaded_module();
  }
};
template <Kind kind>
struct Shares {  // how much is not known
  template <class... Args>
  static void note(Args...) {
    once(kind, 0);
  }
};

// clang-format off: one row a line
AFTER(cuMemAlloc_v2) : Allocates<Kind::allocated>{};
AFTER(cuMemAlloc) : Allocates<Kind::narrow>{};
AFTER(cuMemAllocManaged) : Allocates<Kind::managed>{};
AFTER(cuMemAllocAsync) : Allocates<Kind::pool>{};
AFTER(cuMemAllocAsync_ptsz) : Allocates<Kind::pool>{};
AFTER(cuMemAllocFromPoolAsync) : Allocates<Kind::pool>{};
AFTER(cuMemAllocFromPoolAsync_ptsz) : Allocates<Kind::pool>{};
AFTER(cuMemAllocHost) : Allocates<Kind::host>{};
AFTER(cuMemAllocHost_v2) : Allocates<Kind::host>{};
AFTER(cuMemHostAlloc) : Allocates<Kind::host>{};
FREES(cuMemFree) : FreesFirst{};
FREES(cuMemFree_v2) : FreesFirst{};
FREES(cuMemFreeAsync) : FreesFirst{};
FREES(cuMemFreeAsync_ptsz) : FreesFirst{};
FREES(cuMemFreeHost) : FreesFirst{};
FREES(cuMemHostUnregister) : FreesFirst{};
FREES(cuArrayDestroy) : FreesFirst{};
FREES(cuMipmappedArrayDestroy) : FreesFirst{};
FREES(cuIpcCloseMemHandle) : FreesFirst{};
FREES(cuDestroyExternalMemory) : FreesFirst{};
AFTER(cuCtxCreate) : MakesContext{};
AFTER(cuCtxCreate_v2) : MakesContext{};
AFTER(cuCtxCreate_v3) : MakesContext{};
AFTER(cuCtxCreate_v4) : MakesContext{};
AFTER(cuDevicePrimaryCtxRetain) : MakesContext{};
AFTER(cuGreenCtxCreate) : MakesContext{};
AFTER(cuModuleLoad) : LoadsModule{};
AFTER(cuModuleLoadData) : LoadsModule{};
AFTER(cuModuleLoadDataEx) : LoadsModule{};
AFTER(cuModuleLoadFatBinary) : LoadsModule{};
AFTER(cuLibraryLoadData) : LoadsModule{};
AFTER(cuLibraryLoadFromFile) : LoadsModule{};
AFTER(cuIpcGetMemHandle) : Shares<Kind::ipc>{};
AFTER(cuMemPoolExportPointer) : Shares<Kind::exported>{};
AFTER(cuMemPoolExportToShareableHandle) : Shares<Kind::exported>{};
AFTER(cuMemPoolImportFromShareableHandle) : Shares<Kind::imported>{};
AFTER(cuMemPoolImportPointer) : Shares<Kind::imported>{};
// clang-format on

AFTER(cuMemAllocPitch_v2){static void note(CUdeviceptr * at, std::size_t* pitch, std::size_t, std::size_t height,
                                           unsigned){add(Kind::allocated, *at, *pitch* height);
}  // namespace
};  // namespace lull::observe
AFTER(cuMemAllocPitch){static void note(CUdeviceptr_v1 * at, unsigned* pitch, unsigned, unsigned height,
                                        unsigned){add(Kind::narrow, *at, std::uint64_t{*pitch} * height);
}
}
;
template <class Size>
struct Registers {
  static void note(void* at, Size bytes, unsigned) { add(Kind::registered, key(at), bytes); }
};
AFTER(cuMemHostRegister) : Registers<std::size_t>{};
AFTER(cuMemHostRegister_v2) : Registers<std::size_t>{};

struct MakesArray {
  template <class Array, class Description, class... Levels>
  static void note(Array* array, const Description* d, Levels... levels) {
    add(Kind::array, key(*array), array_bytes(*d, levels...));
  }
};
AFTER(cuArrayCreate) : MakesArray{};
AFTER(cuArrayCreate_v2) : MakesArray{};
AFTER(cuArray3DCreate) : MakesArray{};
AFTER(cuArray3DCreate_v2) : MakesArray{};
AFTER(cuMipmappedArrayCreate) : MakesArray{};

// The program's own virtual memory counts while it is mapped.
AFTER(cuMemCreate){
    static void note(CUmemGenericAllocationHandle * handle, std::size_t bytes, const CUmemAllocationProp* p,
                     unsigned long long){const bool device = p->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
add(device ? Kind::created : Kind::host, key_of_handle(*handle), bytes);
}
}
;
FREES(cuMemRelease){static std::uint64_t key_of(CUmemGenericAllocationHandle handle){return key_of_handle(handle);
}
}
;
AFTER(cuMemMap){static void note(CUdeviceptr at, std::size_t bytes, std::size_t, CUmemGenericAllocationHandle handle,
                                 unsigned long long){const Kind kind = kind_of(key_of_handle(handle), Kind::created);
if (kind != Kind::host) add(kind == Kind::created ? Kind::own_virtual : kind, at, bytes);
}
}
;
AFTER(cuMemUnmap){// of several mappings at once
                  static void note(CUdeviceptr at, std::size_t bytes){Kind kind;
std::uint64_t mapped = 0;
for (CUdeviceptr here = at; here < at + bytes; here += mapped)
  if (!take(here, &kind, &mapped) || mapped == 0) return;
}
}
;
AFTER(cuMemExportToShareableHandle){
    static void note(void*, CUmemGenericAllocationHandle handle, CUmemAllocationHandleType,
                     unsigned long long){once(Kind::exported, bytes_of_key(key_of_handle(handle)));
}
}
;
AFTER(cuMemGetHandleForAddressRange){static void note(void*, CUdeviceptr, std::size_t bytes, CUmemRangeHandleType,
                                                      unsigned long long){once(Kind::exported, bytes);
}
}
;
AFTER(cuMemImportFromShareableHandle){
    static void note(CUmemGenericAllocationHandle * handle, void*,
                     CUmemAllocationHandleType){add(Kind::imported, key_of_handle(*handle), 0);
}
}
;
void note_opened(CUdeviceptr* at) { add(Kind::imported, *at, 0); }
AFTER(cuIpcOpenMemHandle){static void note(CUdeviceptr * at, CUipcMemHandle, unsigned){note_opened(at);
}
}
;
AFTER(cuIpcOpenMemHandle_v2){static void note(CUdeviceptr * at, CUipcMemHandle, unsigned){note_opened(at);
}
}
;
AFTER(cuImportExternalMemory){static void note(CUexternalMemory * memory, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC* d){
    add(Kind::imported, key(*memory), d->size);
}
}
;
AFTER(cuMulticastBindMem){static void note(CUmemGenericAllocationHandle, std::size_t, CUmemGenericAllocationHandle,
                                           std::size_t, std::size_t bytes,
                                           unsigned long long){once(Kind::multicast, bytes);
}
}
;
AFTER(cuMulticastBindAddr){static void note(CUmemGenericAllocationHandle, std::size_t, CUdeviceptr, std::size_t bytes,
                                            unsigned long long){once(Kind::multicast, bytes);
}
}
;
AFTER(cuGraphAddMemAllocNode){static void note(CUgraphNode*, CUgraph, const CUgraphNode*, std::size_t,
                                               CUDA_MEM_ALLOC_NODE_PARAMS* p){once(Kind::graph, p->bytesize);
}
}
;
void note_node(const CUgraphNodeParams* p) {
  if (p->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) once(Kind::graph, p->alloc.bytesize);
}
AFTER(cuGraphAddNode){
    static void note(CUgraphNode*, CUgraph, const CUgraphNode*, std::size_t, CUgraphNodeParams* p){note_node(p);
}
}
;
AFTER(cuGraphAddNode_v2){static void note(CUgraphNode*, CUgraph, const CUgraphNode*, const CUgraphEdgeData*,
                                          std::size_t, CUgraphNodeParams* p){note_node(p);
}
}
;
AFTER(cuGetExportTable){static void note(const void**, const CUuuid*){came_by(Route::private_table);
}
}
;
AFTER(cuInit){
    static void note(unsigned){}  // a program that has begun has a report, even if it does nothing else
};

template <class T>
concept Complete = requires {
  sizeof(T);
};

template <unsigned row, auto& function, typename Signature>
struct Observer;

template <unsigned row, auto& function, typename... Args>
struct Observer<row, function, CUresult(Args...)> {
  static CUresult call(Args... args) {
    auto* next = reinterpret_cast<CUresult (*)(Args...)>(driver_words[row].load(std::memory_order_acquire));
    if constexpr (Complete<Frees<function>>) {
      // Before the call: once it has returned, another thread may be given the same address.
      Kind kind;
      std::uint64_t bytes = 0;
      const std::uint64_t freed = Frees<function>::key_of(args...);
      const bool known = take(freed, &kind, &bytes);
      const CUresult result = next(args...);
      called(row);
      if (known && result != CUDA_SUCCESS) give_back(freed, kind, bytes);
      return result;
    } else {
      const CUresult result = next(args...);
      if constexpr (Complete<After<function>>)
        if (result == CUDA_SUCCESS) After<function>::note(args...);
      called(row);
      return result;
    }
  }
};

constexpr bool is_gated(std::string_view handler) { return handler == "gated" || handler == "split"; }

template <unsigned row, auto& function, bool gated, typename Signature>
constexpr Signature* observer_of() {
  if constexpr (gated || Complete<After<function>> || Complete<Frees<function>>)
    return &Observer<row, function, Signature>::call;
  else
    return nullptr;
}

#define HOOK(symbol, name, since, stream, ...) \
  reinterpret_cast<void*>(observer_of<id_##symbol, real::symbol, is_gated(#__VA_ARGS__), decltype(::symbol)>()),
void* const observers[] = {
#include "shim/hooks.def"
};
#undef HOOK

}  // namespace

bool sees(unsigned row) { return wanted() && observers[row]; }

void* entry(unsigned row, void* driver_address) {
  if (!sees(row)) return driver_address;
  driver_words[row].store(driver_address, std::memory_order_release);
  return observers[row];
}

void* behind(unsigned row, void* address) {
  return address == observers[row] && address ? driver_words[row].load(std::memory_order_acquire) : address;
}

}  // namespace lull::observe
