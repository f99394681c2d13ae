// Kernel launches. Parameters are copied at the call; the kernel runs in the stream's thread when it has the compute
// engine, which the processes on a card take in turns.
#include "tests/driver/code/launch.h"

#include <algorithm>
#include <cstring>

#include "tests/driver/code/module.h"
#include "tests/driver/journal/journal_write.h"
#include "tests/driver/memory/guard.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

struct Shape {
  std::array<unsigned, 3> grid, block;
  std::size_t shared;
  bool cooperative = false;
};

struct Prepared {
  std::shared_ptr<Function> function;
  Shape shape;
  std::vector<std::byte> parameters;
};

CUresult check(const Shape& shape, const Function& function) {
  const ptx::Kernel& kernel = *function.kernel;
  const auto& [gx, gy, gz] = shape.grid;
  const auto& [bx, by, bz] = shape.block;
  if (!gx || !gy || !gz || !bx || !by || !bz) return CUDA_ERROR_INVALID_VALUE;
  if (gx > 0x7fffffffu || gy > 65535 || gz > 65535 || bx > 1024 || by > 1024 || bz > 64)
    return CUDA_ERROR_INVALID_VALUE;
  const std::uint64_t threads = std::uint64_t{bx} * by * bz;
  if (threads > 1024) return CUDA_ERROR_INVALID_VALUE;
  if (threads > kernel.max_threads) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  const auto asked = static_cast<std::size_t>(function.dynamic_shared_limit.load());
  const std::size_t limit = std::max(usual_shared_bytes, std::min(largest_shared_bytes, kernel.shared_bytes + asked));
  if (kernel.shared_bytes + shape.shared > limit) return CUDA_ERROR_INVALID_VALUE;
  // Blocks run one after another, so blocks that wait for each other cannot be resident together.
  const bool several = std::uint64_t{gx} * gy * gz > 1;
  return shape.cooperative && several ? CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE : CUDA_SUCCESS;
}

CUresult pack(const ptx::Kernel& kernel, void** params, void** extra, std::vector<std::byte>& out) {
  if (params && extra) return CUDA_ERROR_INVALID_VALUE;
  out.assign(kernel.parameter_bytes, std::byte{0});
  if (params) {
    for (std::size_t i = 0; i < kernel.parameters.size(); ++i) {
      if (!params[i]) return CUDA_ERROR_INVALID_VALUE;
      std::memcpy(out.data() + kernel.parameters[i].offset, params[i], kernel.parameters[i].size);
    }
    return CUDA_SUCCESS;
  }
  const void* buffer = nullptr;
  std::size_t bytes = 0;
  for (void** e = extra; e && *e != CU_LAUNCH_PARAM_END; e += 2) {
    if (*e == CU_LAUNCH_PARAM_BUFFER_POINTER)
      buffer = e[1];
    else if (*e == CU_LAUNCH_PARAM_BUFFER_SIZE)
      bytes = *static_cast<std::size_t*>(e[1]);
    else
      return CUDA_ERROR_INVALID_VALUE;
  }
  if (bytes < kernel.parameter_bytes || (kernel.parameter_bytes && !buffer)) return CUDA_ERROR_INVALID_VALUE;
  if (kernel.parameter_bytes) std::memcpy(out.data(), buffer, kernel.parameter_bytes);
  return CUDA_SUCCESS;
}

CUresult result_of(ptx::Outcome outcome, const Life& life) {
  switch (outcome) {
    case ptx::Outcome::ok:
    case ptx::Outcome::stopped: return CUDA_SUCCESS;
    case ptx::Outcome::bad_address: return CUDA_ERROR_ILLEGAL_ADDRESS;
    case ptx::Outcome::misaligned: return CUDA_ERROR_MISALIGNED_ADDRESS;
    case ptx::Outcome::trap: return CUDA_ERROR_LAUNCH_FAILED;
    case ptx::Outcome::deadlock:
      while (!life.stop) sleep_until(now_ns() + 50'000'000, life);  // as a GPU would hang
      return CUDA_SUCCESS;
    case ptx::Outcome::budget_exceeded: return CUDA_ERROR_LAUNCH_TIMEOUT;
    case ptx::Outcome::invalid: return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_ERROR_UNKNOWN;
}

CUresult perform(const Prepared& prepared, Running& running) {
  const CodeModule& module = *prepared.function->module;
  ptx::Launch launch{};
  launch.grid = prepared.shape.grid;
  launch.block = prepared.shape.block;
  launch.dynamic_shared = prepared.shape.shared;
  launch.parameters = prepared.parameters.data();
  launch.variable_addresses = module.variable_addresses();
  launch.stop = &running.life.stop;
  const bool in_turn = running.device.card->begin_compute();
  const std::uint64_t start_ns = now_ns();
  volatile auto outcome = ptx::Outcome::ok;  // volatile: set on one side of a jump, read on the other
  const bool memory_there =
      run_touching_memory([&] { outcome = ptx::run(module.parsed(), *prepared.function->kernel, launch); });
  running.end_ns = now_ns();
  if (in_turn) running.device.card->end_compute();
  const CUresult result = memory_there ? result_of(outcome, running.life) : CUDA_ERROR_ILLEGAL_ADDRESS;
  const auto& [grid, block, shared, cooperative] = prepared.shape;
  const std::uint64_t threads = std::uint64_t{grid[0]} * grid[1] * grid[2] * block[0] * block[1] * block[2];
  journal_write({.start_ns = start_ns,
                 .end_ns = running.end_ns,
                 .pid = 0,
                 .tid = 0,
                 .kind = Kind::kernel,
                 .function = 0xffff,
                 .result = result,
                 .address = reinterpret_cast<std::uintptr_t>(prepared.function.get()),
                 .bytes = threads,
                 .written_ns = 0,
                 .device = static_cast<std::uint32_t>(running.device.ordinal),
                 .stream = running.stream_number});
  return result;
}

CUresult launch(CUfunction f, const Shape& shape, CUstream hStream, void** params, void** extra) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  const auto context = stream->context();
  if (!context) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  auto prepared = std::make_shared<Prepared>();
  prepared->shape = shape;
  if (const CUresult failed = find_function(f, *context, prepared->function)) return failed;
  if (prepared->function->module->context() != context.get()) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult failed = check(shape, *prepared->function)) return failed;
  if (const CUresult failed = pack(*prepared->function->kernel, params, extra, prepared->parameters)) return failed;
  return submit(
      *stream, CU_GRAPH_NODE_TYPE_KERNEL,
      [prepared = std::shared_ptr<const Prepared>(prepared)](Running& running) { return perform(*prepared, running); });
}

// Hints may be ignored; what would change the result may not.
bool hint(CUlaunchAttributeID id) {
  return id == CU_LAUNCH_ATTRIBUTE_IGNORE || id == CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW ||
         id == CU_LAUNCH_ATTRIBUTE_PRIORITY || id == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY ||
         id == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN || id == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP ||
         id == CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
}

}  // namespace

namespace api {

CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream hStream, void** params, void** extra) {
  return launch(f, {{gx, gy, gz}, {bx, by, bz}, shared}, hStream, params, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                   unsigned bz, unsigned shared, CUstream hStream, void** params) {
  return launch(f, {{gx, gy, gz}, {bx, by, bz}, shared, true}, hStream, params, nullptr);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* c, CUfunction f, void** params, void** extra) {
  if (!c || (c->numAttrs && !c->attrs)) return CUDA_ERROR_INVALID_VALUE;
  Shape shape{{c->gridDimX, c->gridDimY, c->gridDimZ}, {c->blockDimX, c->blockDimY, c->blockDimZ}, c->sharedMemBytes};
  for (unsigned i = 0; i < c->numAttrs; ++i) {
    if (c->attrs[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
      shape.cooperative = c->attrs[i].value.cooperative != 0;
    else if (!hint(c->attrs[i].id))
      return CUDA_ERROR_NOT_SUPPORTED;
  }
  return launch(f, shape, c->hStream, params, extra);
}

}  // namespace api
}  // namespace lull::sim
