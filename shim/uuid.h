// shim/uuid.h: a GPU's identity, the same in every process and container.
#pragma once
#include <cstdint>
#include <cstdio>

#include "shim/real.h"

namespace lull {

inline bool uuid_of(unsigned slot, CUuuid& uuid) {
  const auto device = static_cast<CUdevice>(slot);
  return real::cuDeviceGetUuid_v2(&uuid, device) == CUDA_SUCCESS ||
         real::cuDeviceGetUuid(&uuid, device) == CUDA_SUCCESS;
}

// "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", as NVML writes it.
inline bool uuid_text(unsigned slot, char (&text)[48]) {
  CUuuid uuid;
  if (!uuid_of(slot, uuid)) return false;
  std::uint8_t b[16];
  for (int i = 0; i < 16; ++i) b[i] = static_cast<std::uint8_t>(uuid.bytes[i]);
  std::snprintf(text, sizeof text, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
  return true;
}

}  // namespace lull
