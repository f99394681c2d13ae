// Images of code, as programs hand them over: PTX text, fat binaries with PTX in them, and what cuLinkComplete returns.
// All are PTX text in the end; machine code is never run.
#pragma once
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/driver/ptx/ptx.h"
#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {

// The texts of an image in memory; they end at a zero byte, or say their size, or have `bytes` in all. 209 (no binary
// for this GPU) for machine code, compressed text and text for newer devices only, 200 (invalid image) for headers that
// make no sense; `log` says which.
CUresult texts_of(const void* image, std::optional<std::size_t> bytes, std::vector<std::string>& out, std::string& log);

// Links texts into a module. 218 (invalid PTX) with `log` telling line and column.
CUresult module_of(const std::vector<std::string>& texts, std::shared_ptr<const ptx::Module>& out, std::string& log);

// The same for one input of a link, which may use what others define.
CUresult check_text(std::string_view text, std::string& log);

// What cuLinkComplete returns: the texts of a link behind a header that only this driver reads.
std::string linked_image(const std::vector<std::string>& texts);

// The architecture that texts may ask for at most: 86 for sm_86.
unsigned device_target();

}  // namespace lull::sim
