// broker/uuid.h: a GPU's identity, as the driver gives it (16 bytes) and as people and NVML write it ("GPU-…").
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lull {

using Uuid = std::array<std::uint8_t, 16>;
std::optional<Uuid> parse_uuid(std::string_view);  // with or without "GPU-"
std::string show_uuid(const Uuid&);                // "GPU-01234567-89ab-cdef-0123-456789abcdef"

}  // namespace lull
