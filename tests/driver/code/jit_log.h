// The options of cuModuleLoadDataEx, cuLibraryLoadData and cuLinkCreate: where the compiler's words go.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {

// A size is passed as the value of its option, not behind it; the driver writes how much it filled to the same place.
class JitLog {
 public:
  JitLog() = default;
  JitLog(unsigned count, CUjit_option* options, void** values) {
    for (unsigned i = 0; options && values && i < count; ++i) {
      switch (options[i]) {
        case CU_JIT_ERROR_LOG_BUFFER: error_.text = static_cast<char*>(values[i]); break;
        case CU_JIT_INFO_LOG_BUFFER: info_.text = static_cast<char*>(values[i]); break;
        case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES: error_.take_size(values[i]); break;
        case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES: info_.take_size(values[i]); break;
        case CU_JIT_WALL_TIME:  // a float is expected where the value lies: nothing is compiled, so none passes
          if (const float none = 0; true) std::memcpy(&values[i], &none, sizeof none);
          break;
        default: break;  // how to optimise, what to keep: nothing here depends on it
      }
    }
  }
  // Options that cuda.h does not know, or without their values.
  static bool valid(unsigned count, const CUjit_option* options, void* const* values) {
    if (count != 0 && (!options || !values)) return false;
    for (unsigned i = 0; i < count; ++i)
      if (static_cast<int>(options[i]) < 0 || options[i] >= CU_JIT_NUM_OPTIONS) return false;
    return true;
  }
  void write(const std::string& error) const {
    error_.write(error);
    info_.write({});
  }

 private:
  struct Buffer {
    char* text = nullptr;
    std::size_t bytes = 0;
    void** filled = nullptr;
    void take_size(void*& value) {
      bytes = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(value));
      filled = &value;
    }
    void write(const std::string& message) const {
      std::size_t length = 0;
      if (text && bytes != 0) {
        length = message.size() < bytes ? message.size() : bytes - 1;
        std::memcpy(text, message.data(), length);
        text[length] = 0;
      }
      if (filled) *filled = reinterpret_cast<void*>(static_cast<std::uintptr_t>(length));
    }
  };
  Buffer error_, info_;
};

}  // namespace lull::sim
