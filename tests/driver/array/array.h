// CUDA arrays. A card tiles them; here they are rows one after another, each padded to 512 bytes, in native memory
// taken as cuMemAlloc takes it: up to 1 MiB several share a granule, above that an array has granules of its own.
//
// Formats: the plain ones, the normalised ones and NV12. Block-compressed and the other video formats answer
// CUDA_ERROR_NOT_SUPPORTED: nothing here samples them. So do sparse arrays and arrays with deferred mapping, which the
// device's attributes say it has not.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "tests/driver/context/context.h"

namespace lull::sim {

// An array, a level of a mipmapped one, or a plane of a planar one.
struct Array {
  CUDA_ARRAY3D_DESCRIPTOR shape{};
  std::size_t element_bytes = 0;
  std::uintptr_t base = 0;
  std::size_t pitch = 0;             // bytes from row to row
  Context* context = nullptr;        // compared only
  bool part = false;                 // goes with what it is a part of, not by itself
  std::vector<const Array*> planes;  // of a planar format: handles of their own

  std::size_t rows() const { return shape.Height ? shape.Height : 1; }
  std::size_t slices() const { return shape.Depth ? shape.Depth : 1; }
  std::size_t row_bytes() const { return shape.Width * element_bytes; }
  std::size_t slice_bytes() const { return pitch * rows(); }
  bool planar() const { return !planes.empty(); }
};

struct MipmappedArray {
  std::uintptr_t base = 0;
  Context* context = nullptr;
  std::vector<const Array*> levels;  // handles of their own, for as long as this exists
};

inline CUarray handle_of(const Array* array) { return reinterpret_cast<CUarray>(const_cast<Array*>(array)); }
std::shared_ptr<Array> find_array(CUarray handle);  // null: there is no such array
std::shared_ptr<MipmappedArray> find_mipmapped(CUmipmappedArray handle);

// What an array of this shape would be, without memory; the error the header documents if there is none.
CUresult plan_array(const Device& device, const CUDA_ARRAY3D_DESCRIPTOR& shape, Array& out);
CUresult plan_levels(const Device& device, const CUDA_ARRAY3D_DESCRIPTOR& shape, unsigned levels,
                     std::vector<Array>& out);

// Before the memory of a context goes.
void drop_arrays_of(Context& context);

}  // namespace lull::sim
