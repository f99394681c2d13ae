#include "tests/workloads/checkpoint.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace lull::workload {
namespace {

struct Header {
  char magic[8];
  std::uint64_t step;
  std::uint64_t state_bytes;
  std::uint64_t reserved;
};
constexpr char magic[8] = {'W', 'E', 'I', 'G', 'H', 'T', 'S', '1'};

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

std::runtime_error failed(const std::string& path, const char* why) { return std::runtime_error(path + ": " + why); }

File open(const std::string& path, const char* mode) {
  File file(std::fopen(path.c_str(), mode), std::fclose);
  if (!file) throw failed(path, std::strerror(errno));
  return file;
}

std::uint64_t state_bytes(const std::vector<Layer>& layers) {
  std::uint64_t sum = 0;
  for (const Layer& layer : layers) sum += layer.weights.bytes() + layer.momentum.bytes();
  return sum;
}

}  // namespace

void save(const std::string& path, std::uint64_t step, const std::vector<Layer>& layers) {
  const std::string part = path + ".part";
  File file = open(part, "wb");
  const auto write = [&](const void* data, std::size_t bytes) {
    if (std::fwrite(data, 1, bytes, file.get()) != bytes) throw failed(part, std::strerror(errno));
  };
  Header header{};
  std::memcpy(header.magic, magic, sizeof magic);
  header.step = step;
  header.state_bytes = state_bytes(layers);
  write(&header, sizeof header);
  for (const Layer& layer : layers) {
    for (const Buffer* buffer : {&layer.weights, &layer.momentum})
      buffer->download([&](std::span<const std::uint32_t> words) { write(words.data(), words.size_bytes()); });
  }
  if (std::fclose(file.release()) != 0) throw failed(part, std::strerror(errno));
  if (std::rename(part.c_str(), path.c_str()) != 0) throw failed(path, std::strerror(errno));
}

std::uint64_t restore(const std::string& path, std::vector<Layer>& layers) {
  File file = open(path, "rb");
  const auto read = [&](void* data, std::size_t bytes) {
    if (std::fread(data, 1, bytes, file.get()) != bytes) throw failed(path, "shorter than its header says");
  };
  Header header{};
  read(&header, sizeof header);
  if (std::memcmp(header.magic, magic, sizeof magic) != 0) throw failed(path, "not a state that this program saved");
  if (header.state_bytes != state_bytes(layers)) throw failed(path, "saved with another --bytes");
  for (Layer& layer : layers) {
    for (Buffer* buffer : {&layer.weights, &layer.momentum})
      buffer->upload([&](std::size_t, std::span<std::uint32_t> words) { read(words.data(), words.size_bytes()); });
  }
  return header.step;
}

}  // namespace lull::workload
