#include "tests/driver/code/image.h"

#include <cstdint>
#include <cstring>

#include "tests/driver/context/attributes.h"

namespace lull::sim {
namespace {

// The first four bytes of images that are no text. None has a zero byte, so comparing them never passes the end of a
// text.
constexpr char kElf[] = "\x7f\x45\x4c\x46", kFatWrapper[] = "\xb1\x43\x62\x46", kFatHeader[] = "\x50\xed\x55\xba",
               kLinked[] = "\x7fPTX";

constexpr std::uint16_t kPtxEntry = 1;
constexpr std::uint64_t kSizeLimit = std::uint64_t{1} << 32;

bool starts_with(const void* image, const char* magic) {
  return std::strncmp(static_cast<const char*>(image), magic, 4) == 0;
}

template <class T>
T word(const std::byte* at) {
  T out;
  std::memcpy(&out, at, sizeof out);
  return out;
}

struct LinkedHeader {
  char magic[4];
  std::uint32_t count;
  std::uint64_t bytes;  // of the whole image
};

CUresult malformed(std::string& log, const char* what) {
  log = what;
  return CUDA_ERROR_INVALID_IMAGE;
}

CUresult read_linked(const std::byte* image, std::optional<std::size_t> bytes, std::vector<std::string>& out,
                     std::string& log) {
  if (bytes && *bytes < sizeof(LinkedHeader)) return malformed(log, "the linked image ends within its header");
  const auto header = word<LinkedHeader>(image);
  if (header.bytes > kSizeLimit || (bytes && *bytes < header.bytes))
    return malformed(log, "the linked image is cut off");
  std::uint64_t at = sizeof header;
  for (std::uint32_t i = 0; i < header.count; ++i) {
    if (header.bytes - at < sizeof(std::uint64_t)) return malformed(log, "the linked image is cut off");
    const auto size = word<std::uint64_t>(image + at);
    at += sizeof size;
    if (header.bytes - at < size) return malformed(log, "the linked image is cut off");
    out.emplace_back(reinterpret_cast<const char*>(image + at), size);
    at += size;
  }
  return CUDA_SUCCESS;
}

// A header (magic, version, own size, size of what follows) and entries, each with a header of its own: kind at 0, size
// of the header at 4, of the payload at 8, compressed size at 16 (0: not compressed), architecture at 28. The text for
// the newest architecture that this device has is taken.
CUresult read_fat(const std::byte* image, std::optional<std::size_t> bytes, std::vector<std::string>& out,
                  std::string& log) {
  constexpr std::uint64_t kHeader = 16, kEntryHeader = 32;
  if (bytes && *bytes < kHeader) return malformed(log, "the fat binary ends within its header");
  const std::uint64_t start = word<std::uint16_t>(image + 6), size = word<std::uint64_t>(image + 8), end = start + size;
  if (start < kHeader || size > kSizeLimit || (bytes && *bytes < end))
    return malformed(log, "the fat binary is cut off");
  unsigned best = 0;
  bool has_compressed = false, has_newer = false, has_code = false;
  for (std::uint64_t at = start; at < end;) {
    if (end - at < kEntryHeader) return malformed(log, "the fat binary ends within an entry");
    const std::byte* const entry = image + at;
    const std::uint64_t header = word<std::uint32_t>(entry + 4), payload = word<std::uint64_t>(entry + 8);
    if (header < kEntryHeader || header > end - at || payload > end - at - header)
      return malformed(log, "an entry of the fat binary is cut off");
    const unsigned architecture = word<std::uint32_t>(entry + 28);
    if (word<std::uint16_t>(entry) != kPtxEntry) {
      has_code = true;
    } else if (word<std::uint32_t>(entry + 16) != 0) {
      has_compressed = true;
    } else if (architecture > device_target()) {
      has_newer = true;
    } else if (architecture >= best) {
      best = architecture;
      const auto* const text = reinterpret_cast<const char*>(entry + header);
      out.assign(1, std::string(text, ::strnlen(text, payload)));
    }
    at += header + payload;
  }
  if (!out.empty()) return CUDA_SUCCESS;
  log = has_newer        ? "the PTX of the fat binary is for newer devices than sm_" + std::to_string(device_target())
        : has_compressed ? "the PTX of the fat binary is compressed; build it with --no-compress"
        : has_code ? "the fat binary holds machine code only; the simulated GPU runs PTX: build with -arch=compute_75"
                   : "the fat binary is empty";
  return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

ptx::Limits limits() {
  constexpr unsigned newest_version = 90;  // of CUDA 13.0, whose driver this is
  return {.target = device_target(), .version = newest_version};
}

CUresult result_of(const ptx::Error& error) {
  return error.newer ? CUDA_ERROR_UNSUPPORTED_PTX_VERSION : CUDA_ERROR_INVALID_PTX;
}

}  // namespace

unsigned device_target() {
  return static_cast<unsigned>(attribute_of(0, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) * 10 +
                               attribute_of(0, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
}

CUresult texts_of(const void* image, std::optional<std::size_t> bytes, std::vector<std::string>& out,
                  std::string& log) {
  out.clear();
  if (bytes && *bytes < 4) return malformed(log, "the image has less than four bytes");
  const auto* const at = static_cast<const std::byte*>(image);
  if (starts_with(image, kElf)) {
    log = "machine code: the simulated GPU runs PTX only";
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  if (starts_with(image, kLinked)) return read_linked(at, bytes, out, log);
  if (starts_with(image, kFatHeader)) return read_fat(at, bytes, out, log);
  if (starts_with(image, kFatWrapper)) {  // magic, version, pointer
    if (bytes && *bytes < 16) return malformed(log, "the wrapper of the fat binary is cut off");
    const auto* const fat = word<const std::byte*>(at + 8);
    if (fat == nullptr || !starts_with(fat, kFatHeader)) return malformed(log, "the wrapper leads to no fat binary");
    return read_fat(fat, std::nullopt, out, log);
  }
  const auto* const text = static_cast<const char*>(image);
  out.emplace_back(text, bytes ? ::strnlen(text, *bytes) : std::strlen(text));
  return CUDA_SUCCESS;
}

CUresult module_of(const std::vector<std::string>& texts, std::shared_ptr<const ptx::Module>& out, std::string& log) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  std::size_t failing = 0;
  auto linked = ptx::link(views, limits(), failing);
  if (const auto* error = std::get_if<ptx::Error>(&linked)) {
    log = "line " + std::to_string(error->line) + ", column " + std::to_string(error->column) + ": " + error->message;
    if (texts.size() > 1) log = "input " + std::to_string(failing + 1) + ", " + log;
    return result_of(*error);
  }
  out = std::make_shared<const ptx::Module>(std::move(std::get<ptx::Module>(linked)));
  return CUDA_SUCCESS;
}

CUresult check_text(std::string_view text, std::string& log) {
  const auto error = ptx::check(text, limits());
  if (!error) return CUDA_SUCCESS;
  log = "line " + std::to_string(error->line) + ", column " + std::to_string(error->column) + ": " + error->message;
  return result_of(*error);
}

std::string linked_image(const std::vector<std::string>& texts) {
  std::string out(sizeof(LinkedHeader), '\0');
  for (const std::string& text : texts) {
    const std::uint64_t size = text.size();
    out.append(reinterpret_cast<const char*>(&size), sizeof size).append(text);
  }
  LinkedHeader header{{}, static_cast<std::uint32_t>(texts.size()), out.size()};
  std::memcpy(header.magic, kLinked, sizeof header.magic);
  std::memcpy(out.data(), &header, sizeof header);
  return out;
}

}  // namespace lull::sim
