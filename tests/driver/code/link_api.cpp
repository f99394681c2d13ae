// cuLink*: texts are collected, and linked when the program asks for the whole. The "cubin" that comes out holds the
// texts, for this driver's loader alone. Of the inputs, PTX and what holds PTX are taken; objects and libraries are
// machine code and answer as for another GPU, NVVM as cuda.h says since CUDA 12.
#include <fstream>
#include <iterator>
#include <mutex>

#include "tests/driver/code/image.h"
#include "tests/driver/code/jit_log.h"
#include "tests/driver/context/context.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

struct Link {
  JitLog log;
  std::mutex mutex;  // guards what follows
  std::vector<std::string> texts;
  std::string image;  // lives as long as the link
};

CUresult add(Link& link, CUjitInputType type, const void* data, std::size_t size) {
  if (type < CU_JIT_INPUT_CUBIN || type >= CU_JIT_INPUT_NVVM) return CUDA_ERROR_INVALID_VALUE;
  std::string message;
  if (type == CU_JIT_INPUT_OBJECT || type == CU_JIT_INPUT_LIBRARY) {
    link.log.write("objects and libraries hold machine code; the simulated GPU links PTX only");
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  std::vector<std::string> texts;
  CUresult failed = texts_of(data, size, texts, message);
  for (const std::string& text : texts)
    if (!failed) failed = check_text(text, message);
  const std::scoped_lock lock(link.mutex);
  if (failed) {
    link.log.write(message);
    return failed;
  }
  for (std::string& text : texts) link.texts.push_back(std::move(text));
  return CUDA_SUCCESS;
}

std::shared_ptr<Link> find(CUlinkState state) { return registry<Link>().find(state); }

}  // namespace

namespace api {

CUresult cuLinkCreate_v2(unsigned count, CUjit_option* options, void** values, CUlinkState* state) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!state || !JitLog::valid(count, options, values)) return CUDA_ERROR_INVALID_VALUE;
  auto link = std::make_shared<Link>();
  link->log = JitLog(count, options, values);
  *state = reinterpret_cast<CUlinkState>(registry<Link>().add(std::move(link)));
  return CUDA_SUCCESS;
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void* data, size_t size, const char*, unsigned count,
                          CUjit_option* options, void** values) {
  const auto link = find(state);
  if (!link) return CUDA_ERROR_INVALID_HANDLE;
  if (!data || size == 0 || !JitLog::valid(count, options, values)) return CUDA_ERROR_INVALID_VALUE;
  return add(*link, type, data, size);
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char* path, unsigned count,
                          CUjit_option* options, void** values) {
  const auto link = find(state);
  if (!link) return CUDA_ERROR_INVALID_HANDLE;
  if (!path || !JitLog::valid(count, options, values)) return CUDA_ERROR_INVALID_VALUE;
  std::ifstream file(path, std::ios::binary);
  if (!file) return CUDA_ERROR_FILE_NOT_FOUND;
  const std::string data(std::istreambuf_iterator<char>(file), {});
  return add(*link, type, data.c_str(), data.size());
}

CUresult cuLinkComplete(CUlinkState state, void** cubin, size_t* size) {
  const auto link = find(state);
  if (!link) return CUDA_ERROR_INVALID_HANDLE;
  if (!cubin) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(link->mutex);
  std::shared_ptr<const ptx::Module> linked;
  std::string message;
  if (const CUresult failed = module_of(link->texts, linked, message)) {
    link->log.write(message);
    return failed;
  }
  link->log.write({});
  link->image = linked_image(link->texts);
  *cubin = link->image.data();
  if (size) *size = link->image.size();
  return CUDA_SUCCESS;
}

CUresult cuLinkDestroy(CUlinkState state) {
  return registry<Link>().remove(state) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace api
}  // namespace lull::sim
