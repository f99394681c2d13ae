// Loading modules and libraries, and finding things in them.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "tests/driver/card/settings.h"
#include "tests/driver/code/image.h"
#include "tests/driver/code/jit_log.h"
#include "tests/driver/code/module.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUresult parse_image(const void* image, std::shared_ptr<const ptx::Module>& out, const JitLog& log) {
  std::vector<std::string> texts;
  std::string message;
  CUresult failed = texts_of(image, std::nullopt, texts, message);
  if (!failed) failed = module_of(texts, out, message);
  log.write(message);
  return failed;
}

CUresult load_module(CUmodule* out, const void* image, const JitLog& log) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  std::shared_ptr<const ptx::Module> parsed;
  if (const CUresult failed = parse_image(image, parsed, log)) return failed;
  std::shared_ptr<CodeModule> module;
  if (const CUresult failed = CodeModule::load(*context, std::move(parsed), module)) return failed;
  *out = reinterpret_cast<CUmodule>(module.get());
  return CUDA_SUCCESS;
}

CUresult load_library(CUlibrary* out, const void* image, const JitLog& log) {
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  auto library = std::make_shared<Library>();
  if (const CUresult failed = parse_image(image, library->parsed, log)) return failed;
  *out = reinterpret_cast<CUlibrary>(registry<Library>().add(std::move(library)));
  return CUDA_SUCCESS;
}

bool read_file(const char* path, std::string& text) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  text.assign(std::istreambuf_iterator<char>(file), {});
  return true;
}

CUkernel kernel_of(Library& library, const ptx::Kernel& kernel) {
  const std::scoped_lock lock(library.mutex);
  auto& handle = library.kernels[kernel.name];
  if (!handle)
    handle = registry<LibraryKernel>().add(
        std::make_shared<LibraryKernel>(LibraryKernel{library.weak_from_this(), &kernel}));
  return reinterpret_cast<CUkernel>(handle);
}

CUresult global_of(CodeModule& module, CUdeviceptr* dptr, size_t* bytes, const char* name) {
  std::byte* address = nullptr;
  const ptx::Variable* variable = module.variable(name, address);
  if (!variable) return CUDA_ERROR_NOT_FOUND;
  if (dptr) *dptr = reinterpret_cast<CUdeviceptr>(address);
  if (bytes) *bytes = variable->size;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  if (!mode) return CUDA_ERROR_INVALID_VALUE;
  *mode = settings().lazy_loading ? CU_MODULE_LAZY_LOADING : CU_MODULE_EAGER_LOADING;
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned count, CUjit_option* options, void** values) {
  if (!image || !JitLog::valid(count, options, values)) return CUDA_ERROR_INVALID_VALUE;
  return load_module(module, image, JitLog(count, options, values));
}
CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return api::cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}
CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) {
  return api::cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

CUresult cuModuleLoad(CUmodule* module, const char* fname) {
  std::string text;
  if (!fname) return CUDA_ERROR_INVALID_VALUE;
  if (!read_file(fname, text)) return CUDA_ERROR_FILE_NOT_FOUND;
  return load_module(module, text.c_str(), JitLog());
}

CUresult cuModuleUnload(CUmodule hmod) {
  const Found context = current_context();
  if (!context) return context.error;
  const auto module = registry<CodeModule>().find(hmod);
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult failed = context->synchronize()) return failed;
  module->unload();
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* hfunc, CUmodule hmod, const char* name) {
  if (!hfunc || !name) return CUDA_ERROR_INVALID_VALUE;
  const auto module = registry<CodeModule>().find(hmod);
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  const auto function = module->function(name);
  if (!function) return CUDA_ERROR_NOT_FOUND;
  *hfunc = reinterpret_cast<CUfunction>(function.get());
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunctionCount(unsigned* count, CUmodule hmod) {
  const auto module = registry<CodeModule>().find(hmod);
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  *count = static_cast<unsigned>(module->parsed().kernels.size());
  return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* dptr, size_t* bytes, CUmodule hmod, const char* name) {
  const auto module = registry<CodeModule>().find(hmod);
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  return name ? global_of(*module, dptr, bytes, name) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option* options, void** values, unsigned count,
                           CUlibraryOption*, void**, unsigned) {
  if (!code || !JitLog::valid(count, options, values)) return CUDA_ERROR_INVALID_VALUE;
  return load_library(library, code, JitLog(count, options, values));
}

CUresult cuLibraryLoadFromFile(CUlibrary* library, const char* fileName, CUjit_option* options, void** values,
                               unsigned count, CUlibraryOption*, void**, unsigned) {
  std::string text;
  if (!fileName) return CUDA_ERROR_INVALID_VALUE;
  if (!read_file(fileName, text)) return CUDA_ERROR_FILE_NOT_FOUND;
  return load_library(library, text.c_str(), JitLog(count, options, values));
}

CUresult cuLibraryUnload(CUlibrary handle) {
  const auto library = registry<Library>().remove(handle);
  if (!library) return CUDA_ERROR_INVALID_HANDLE;
  const std::scoped_lock lock(library->mutex);
  for (const auto& [context, module] : library->loaded) module->unload();
  for (const auto& [name, kernel] : library->kernels) registry<LibraryKernel>().remove(kernel);
  library->loaded.clear();
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel* pKernel, CUlibrary handle, const char* name) {
  const auto library = registry<Library>().find(handle);
  if (!library) return CUDA_ERROR_INVALID_HANDLE;
  if (!pKernel || !name) return CUDA_ERROR_INVALID_VALUE;
  const ptx::Kernel* kernel = library->parsed->find(name);
  if (!kernel) return CUDA_ERROR_NOT_FOUND;
  *pKernel = kernel_of(*library, *kernel);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernelCount(unsigned* count, CUlibrary handle) {
  const auto library = registry<Library>().find(handle);
  if (!library) return CUDA_ERROR_INVALID_HANDLE;
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  *count = static_cast<unsigned>(library->parsed->kernels.size());
  return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction* functions, unsigned count, CUmodule hmod) {
  const auto module = registry<CodeModule>().find(hmod);
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  if (!functions || count == 0) return CUDA_ERROR_INVALID_VALUE;
  const auto& kernels = module->parsed().kernels;
  for (std::size_t i = 0; i < std::min<std::size_t>(count, kernels.size()); ++i)
    functions[i] = reinterpret_cast<CUfunction>(module->function(kernels[i].name).get());
  return CUDA_SUCCESS;
}

CUresult cuLibraryEnumerateKernels(CUkernel* kernels, unsigned count, CUlibrary handle) {
  const auto library = registry<Library>().find(handle);
  if (!library) return CUDA_ERROR_INVALID_HANDLE;
  if (!kernels || count == 0) return CUDA_ERROR_INVALID_VALUE;
  const auto& all = library->parsed->kernels;
  for (std::size_t i = 0; i < std::min<std::size_t>(count, all.size()); ++i) kernels[i] = kernel_of(*library, all[i]);
  return CUDA_SUCCESS;
}

// PTX that the simulator reads declares no managed variables and no unified functions, so none is ever found.
CUresult cuLibraryGetManaged(CUdeviceptr*, size_t*, CUlibrary handle, const char* name) {
  if (!registry<Library>().find(handle)) return CUDA_ERROR_INVALID_HANDLE;
  return name ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuLibraryGetUnifiedFunction(void** fptr, CUlibrary handle, const char* symbol) {
  if (!registry<Library>().find(handle)) return CUDA_ERROR_INVALID_HANDLE;
  return fptr && symbol ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuLibraryGetModule(CUmodule* pMod, CUlibrary handle) {
  const Found context = current_context();
  if (!context) return context.error;
  const auto library = registry<Library>().find(handle);
  if (!library) return CUDA_ERROR_INVALID_HANDLE;
  if (!pMod) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<CodeModule> module;
  const CUresult failed = library->load_into(*context, module);
  *pMod = reinterpret_cast<CUmodule>(module.get());
  return failed;
}

CUresult cuLibraryGetGlobal(CUdeviceptr* dptr, size_t* bytes, CUlibrary handle, const char* name) {
  const Found context = current_context();
  if (!context) return context.error;
  const auto library = registry<Library>().find(handle);
  if (!library) return CUDA_ERROR_INVALID_HANDLE;
  if (!name) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<CodeModule> module;
  if (const CUresult failed = library->load_into(*context, module)) return failed;
  return global_of(*module, dptr, bytes, name);
}

CUresult cuKernelGetFunction(CUfunction* pFunc, CUkernel kernel) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!pFunc) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Function> function;
  const CUresult failed = find_function(reinterpret_cast<CUfunction>(kernel), *context, function);
  *pFunc = reinterpret_cast<CUfunction>(function.get());
  return failed;
}

CUresult cuKernelGetLibrary(CUlibrary* pLib, CUkernel handle) {
  const auto kernel = registry<LibraryKernel>().find(handle);
  const auto library = kernel ? kernel->library.lock() : nullptr;
  if (!library) return CUDA_ERROR_INVALID_HANDLE;
  if (!pLib) return CUDA_ERROR_INVALID_VALUE;
  *pLib = reinterpret_cast<CUlibrary>(library.get());
  return CUDA_SUCCESS;
}

}  // namespace lull::sim::api
