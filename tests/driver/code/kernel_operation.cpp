// Kernels run in the stream's thread when they have the compute engine, which the processes on a card take in turns.
#include "tests/driver/code/kernel_operation.h"

#include <algorithm>
#include <cstring>

#include "tests/driver/code/compute_turn.h"
#include "tests/driver/code/launch.h"
#include "tests/driver/code/native_kernels.h"
#include "tests/driver/code/occupancy.h"
#include "tests/driver/journal/journal_write.h"
#include "tests/driver/managed/managed.h"
#include "tests/driver/memory/guard.h"
#include "tests/driver/stream/stream.h"

namespace lull::sim {
namespace {

CUresult result_of(ptx::Outcome outcome, const Life& life) {
  switch (outcome) {
    case ptx::Outcome::ok:
    case ptx::Outcome::stopped: return CUDA_SUCCESS;
    case ptx::Outcome::bad_address: return CUDA_ERROR_ILLEGAL_ADDRESS;
    case ptx::Outcome::misaligned: return CUDA_ERROR_MISALIGNED_ADDRESS;
    case ptx::Outcome::trap: return CUDA_ERROR_LAUNCH_FAILED;
    case ptx::Outcome::stack_overflow: return CUDA_ERROR_HARDWARE_STACK_ERROR;
    case ptx::Outcome::deadlock:
      while (!life.stop) sleep_until(now_ns() + 50'000'000, life);  // as a GPU would hang
      return CUDA_SUCCESS;
    case ptx::Outcome::budget_exceeded: return CUDA_ERROR_LAUNCH_TIMEOUT;
    case ptx::Outcome::invalid: return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_ERROR_UNKNOWN;
}

std::uint64_t blocks_of(const LaunchShape& shape) {
  return std::uint64_t{shape.grid[0]} * shape.grid[1] * shape.grid[2];
}
std::uint64_t threads_of(const LaunchShape& shape) {
  return std::uint64_t{shape.block[0]} * shape.block[1] * shape.block[2];
}

}  // namespace

KernelOperation::KernelOperation(std::shared_ptr<Function> function, const Device& device, const LaunchShape& shape,
                                 LaunchAttributes attributes)
    : function_(std::move(function)), device_(device), shape_(shape), attributes_(std::move(attributes)) {}

bool KernelOperation::cooperative() const {
  const auto found = attributes_.find(CU_LAUNCH_ATTRIBUTE_COOPERATIVE);
  return found != attributes_.end() && found->second.cooperative != 0;
}

CUresult KernelOperation::check() const {
  const ptx::Kernel& kernel = *function_->kernel;
  const auto& [gx, gy, gz] = shape_.grid;
  const auto& [bx, by, bz] = shape_.block;
  if (!gx || !gy || !gz || !bx || !by || !bz) return CUDA_ERROR_INVALID_VALUE;
  if (gx > 0x7fffffffu || gy > 65535 || gz > 65535 || bx > 1024 || by > 1024 || bz > 64)
    return CUDA_ERROR_INVALID_VALUE;
  if (threads_of(shape_) > 1024) return CUDA_ERROR_INVALID_VALUE;
  if (threads_of(shape_) > kernel.max_threads) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  const auto asked = static_cast<std::size_t>(function_->dynamic_shared_limit.load());
  const std::size_t limit = std::max(usual_shared_bytes, std::min(largest_shared_bytes, kernel.shared_bytes + asked));
  if (kernel.shared_bytes + shape_.shared > limit) return CUDA_ERROR_INVALID_VALUE;
  if (!cooperative()) return CUDA_SUCCESS;
  const std::uint64_t resident = resident_blocks(kernel, device_.ordinal, threads_of(shape_), shape_.shared);
  return blocks_of(shape_) > resident ? CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE : CUDA_SUCCESS;
}

CUresult KernelOperation::pack(void** params, void** extra) {
  const ptx::Kernel& kernel = *function_->kernel;
  if (params && extra) return CUDA_ERROR_INVALID_VALUE;
  parameters_.assign(kernel.parameter_bytes, std::byte{0});
  for (const ptx::Parameter& parameter : kernel.parameters) pointers_.push_back(parameters_.data() + parameter.offset);
  if (params) {
    for (std::size_t i = 0; i < kernel.parameters.size(); ++i) {
      if (!params[i]) return CUDA_ERROR_INVALID_VALUE;
      std::memcpy(pointers_[i], params[i], kernel.parameters[i].size);
    }
    return CUDA_SUCCESS;
  }
  const void* buffer = nullptr;
  std::size_t bytes = 0;
  for (void** e = extra; e && *e != CU_LAUNCH_PARAM_END; e += 2) {
    if (*e == CU_LAUNCH_PARAM_BUFFER_POINTER)
      buffer = e[1];
    else if (*e == CU_LAUNCH_PARAM_BUFFER_SIZE && e[1])
      bytes = *static_cast<std::size_t*>(e[1]);
    else
      return CUDA_ERROR_INVALID_VALUE;
  }
  if (bytes < kernel.parameter_bytes || (kernel.parameter_bytes && !buffer)) return CUDA_ERROR_INVALID_VALUE;
  if (kernel.parameter_bytes) std::memcpy(parameters_.data(), buffer, kernel.parameter_bytes);
  as_buffer_ = extra != nullptr;
  parameter_bytes_ = kernel.parameter_bytes;
  extra_ = {CU_LAUNCH_PARAM_BUFFER_POINTER, parameters_.data(), CU_LAUNCH_PARAM_BUFFER_SIZE, &parameter_bytes_,
            CU_LAUNCH_PARAM_END};
  return CUDA_SUCCESS;
}

CUresult KernelOperation::make(CUfunction function, const LaunchShape& shape, LaunchAttributes attributes,
                               Context& context, void** params, void** extra,
                               std::shared_ptr<const KernelOperation>& out) {
  std::shared_ptr<Function> found;
  if (const CUresult failed = find_function(function, context, found)) return failed;
  if (found->module->context() != &context) return CUDA_ERROR_INVALID_HANDLE;
  for (const auto& [id, value] : attributes) {
    if (const CUresult wrong = check_attribute(id, value)) return wrong;
  }
  const std::shared_ptr<KernelOperation> made(
      new KernelOperation(std::move(found), context.device(), shape, std::move(attributes)));
  if (const CUresult wrong = made->check()) return wrong;
  if (const CUresult wrong = made->pack(params, extra)) return wrong;
  // Native memory is needed now, not when the kernel runs: the call is where a full card shows.
  if (const CUresult failed = made->function_->module->load_code()) return failed;
  if (const CUresult failed = context.limits.need_stack(made->function_->kernel->local_bytes)) return failed;
  out = made;
  return CUDA_SUCCESS;
}

CUresult KernelOperation::with(LaunchAttributes attributes, std::shared_ptr<const KernelOperation>& out) const {
  const std::shared_ptr<KernelOperation> made(new KernelOperation(function_, device_, shape_, std::move(attributes)));
  if (const CUresult wrong = made->check()) return wrong;
  if (const CUresult wrong = made->pack(params(), extra())) return wrong;
  out = made;
  return CUDA_SUCCESS;
}

CUresult KernelOperation::run(Running& running) const {
  const CodeModule& module = *function_->module;
  ptx::Launch launch{};
  launch.grid = shape_.grid;
  launch.block = shape_.block;
  launch.dynamic_shared = shape_.shared;
  launch.parameters = parameters_.data();
  launch.variable_addresses = module.variable_addresses();
  launch.stop = &running.life.stop;
  managed_touched_by(running, parameters_.data(), parameters_.size());
  launch.cooperative = cooperative();
  const auto note = [&](Kind kind, std::uint64_t start_ns, std::uint64_t end_ns, CUresult result) {
    journal_write({.start_ns = start_ns,
                   .end_ns = end_ns,
                   .pid = 0,
                   .tid = 0,
                   .kind = kind,
                   .function = 0xffff,
                   .result = result,
                   .address = reinterpret_cast<std::uintptr_t>(function_.get()),
                   .bytes = blocks_of(shape_) * threads_of(shape_),
                   .written_ns = 0,
                   .device = static_cast<std::uint32_t>(running.device.ordinal),
                   .stream = running.stream_number});
  };
  ComputeTurn turn(running.device, running.priority, running.life, [&](std::uint64_t start_ns, std::uint64_t end_ns) {
    note(Kind::slice, start_ns, end_ns, CUDA_SUCCESS);
  });
  launch.breathe = [](void* of) { static_cast<ComputeTurn*>(of)->breathe(); };
  launch.breather = &turn;
  volatile auto outcome = ptx::Outcome::ok;  // volatile: set on one side of a jump, read on the other
  const bool memory_there = run_touching_memory([&] {
    const auto native = run_native(*function_->kernel, launch);
    outcome = native ? *native : ptx::run(module.parsed(), *function_->kernel, launch);
  });
  running.end_ns = turn.end();
  const CUresult result = memory_there ? result_of(outcome, running.life) : CUDA_ERROR_ILLEGAL_ADDRESS;
  note(Kind::kernel, turn.began_ns(), running.end_ns, result);
  return result;
}

CUresult check_attribute(CUlaunchAttributeID id, const CUlaunchAttributeValue& value) {
  switch (id) {
    // Hints may be ignored; what would change the result may not.
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
      return value.syncPolicy >= CU_SYNC_POLICY_AUTO && value.syncPolicy <= CU_SYNC_POLICY_BLOCKING_SYNC
                 ? CUDA_SUCCESS
                 : CUDA_ERROR_INVALID_VALUE;
    // Libraries say "not programmatic" to every card.
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
      return value.programmaticStreamSerializationAllowed ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
    // Clusters and programmatic launches came with compute capability 9.0, device-updatable nodes need device runtime.
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
    case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
    case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
    case CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING: return CUDA_ERROR_NOT_SUPPORTED;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}

}  // namespace lull::sim
