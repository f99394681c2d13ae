#include "tests/driver/code/occupancy.h"

#include <algorithm>

#include "tests/driver/code/launch.h"
#include "tests/driver/code/module.h"
#include "tests/driver/context/attributes.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

constexpr unsigned warp = 32;

unsigned limit_of(CUdevice device, CUdevice_attribute attribute) {
  return static_cast<unsigned>(std::max(0, attribute_of(device, attribute)));
}

CUdevice current_device() {
  const Found context = current_context();
  return context ? context->device().ordinal : 0;
}

}  // namespace

unsigned blocks_per_multiprocessor(const ptx::Kernel& kernel, CUdevice device, std::uint64_t threads,
                                   std::size_t dynamic_shared) {
  const std::size_t shared = kernel.shared_bytes + dynamic_shared;
  const std::uint64_t whole_warps = (threads + warp - 1) / warp * warp;
  if (threads == 0 || threads > kernel.max_threads || shared > largest_shared_bytes) return 0;
  std::uint64_t blocks = limit_of(device, CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR);
  blocks = std::min(blocks, limit_of(device, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR) / whole_warps);
  if (shared)
    blocks = std::min<std::uint64_t>(
        blocks, limit_of(device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR) / shared);
  return static_cast<unsigned>(blocks);
}

std::uint64_t resident_blocks(const ptx::Kernel& kernel, CUdevice device, std::uint64_t threads,
                              std::size_t dynamic_shared) {
  const std::uint64_t on_card = std::uint64_t{limit_of(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)} *
                                blocks_per_multiprocessor(kernel, device, threads, dynamic_shared);
  return std::min(on_card, ptx::kResidentLimit);
}

namespace api {
namespace {

constexpr unsigned known_flags = CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE;

// No cluster fits on a card without them.
CUresult clusters(const int* out, CUfunction f, const CUlaunchConfig* config) {
  if (!out || !config || (config->numAttrs && !config->attrs)) return CUDA_ERROR_INVALID_VALUE;
  return find_kernel(f) ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction f, int blockSize, size_t shared,
                                                              unsigned flags) {
  const ptx::Kernel* kernel = find_kernel(f);
  if (!kernel) return CUDA_ERROR_INVALID_HANDLE;
  if (!blocks || blockSize <= 0 || (flags & ~known_flags)) return CUDA_ERROR_INVALID_VALUE;
  *blocks = static_cast<int>(
      blocks_per_multiprocessor(*kernel, current_device(), static_cast<std::uint64_t>(blockSize), shared));
  return CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction f, int blockSize, size_t shared) {
  return api::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, f, blockSize, shared, 0);
}

// The block size that keeps most threads of a multiprocessor busy; of equals the largest.
CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, CUfunction f, CUoccupancyB2DSize sharedOf,
                                                   size_t shared, int limit, unsigned flags) {
  const ptx::Kernel* kernel = find_kernel(f);
  if (!kernel) return CUDA_ERROR_INVALID_HANDLE;
  if (!grid || !block || limit < 0 || (flags & ~known_flags)) return CUDA_ERROR_INVALID_VALUE;
  unsigned largest = kernel->max_threads, best = 0, best_blocks = 0;
  if (limit > 0) largest = std::min(largest, static_cast<unsigned>(limit));
  for (unsigned size = largest; size > 0; size = (size - 1) / warp * warp) {
    const std::size_t dynamic = sharedOf ? sharedOf(static_cast<int>(size)) : shared;
    const unsigned blocks = blocks_per_multiprocessor(*kernel, current_device(), size, dynamic);
    if (blocks * size <= best_blocks * best) continue;
    best = size;
    best_blocks = blocks;
  }
  if (best == 0) return CUDA_ERROR_INVALID_VALUE;
  *block = static_cast<int>(best);
  *grid = static_cast<int>(best_blocks * limit_of(current_device(), CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  return CUDA_SUCCESS;
}
CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction f, CUoccupancyB2DSize sharedOf,
                                          size_t shared, int limit) {
  return api::cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, f, sharedOf, shared, limit, 0);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* bytes, CUfunction f, int numBlocks, int blockSize) {
  const ptx::Kernel* kernel = find_kernel(f);
  if (!kernel) return CUDA_ERROR_INVALID_HANDLE;
  if (!bytes || numBlocks <= 0 || blockSize <= 0) return CUDA_ERROR_INVALID_VALUE;
  const auto blocks = static_cast<unsigned>(numBlocks);
  if (blocks_per_multiprocessor(*kernel, current_device(), static_cast<unsigned>(blockSize), 0) < blocks)
    return CUDA_ERROR_INVALID_VALUE;
  const std::size_t each =
      limit_of(current_device(), CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR) / blocks;
  const std::size_t whole = std::min(each, largest_shared_bytes);
  *bytes = whole - std::min(whole, kernel->shared_bytes);
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialClusterSize(int* out, CUfunction f, const CUlaunchConfig* config) {
  return clusters(out, f, config);
}
CUresult cuOccupancyMaxActiveClusters(int* out, CUfunction f, const CUlaunchConfig* config) {
  return clusters(out, f, config);
}

}  // namespace api
}  // namespace lull::sim
