// What a card's file may be when a process comes to it.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

// Copies to the device and back, so that memory and link are used.
ChildRole user("card-user", [] {
  if (cuInit(0) != CUDA_SUCCESS) return 9;
  const TestContext context;
  CUdeviceptr d = 0;
  unsigned word = 7;
  const bool good = cuMemAlloc_v2(&d, 4096) == CUDA_SUCCESS && cuMemcpyHtoD_v2(d, &word, 4) == CUDA_SUCCESS &&
                    cuMemcpyDtoH_v2(&word, d, 4) == CUDA_SUCCESS && word == 7;
  return good ? 0 : 1;
});

// A path of its own, gone at the end.
class Path {
 public:
  Path() : path_(std::string(::getenv("LULL_SIM_POOL")) + ".file") {}
  ~Path() { (void)::unlink(path_.c_str()); }
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;
  const std::string& str() const { return path_; }
  // The exit status of a process that comes to it.
  int use() const {
    return WEXITSTATUS(Child("card-user", {"LULL_SIM_POOL=" + path_, "LULL_SIM_MEMORY=32MiB"}).wait());
  }
  void write(std::streamoff at, const std::string& bytes) const {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  ino_t inode() const {
    struct stat status {};
    return ::stat(path_.c_str(), &status) == 0 ? status.st_ino : 0;
  }

 private:
  const std::string path_;
};

}  // namespace

TEST_CASE("a card's file that nobody uses stays for the next process; one of another layout is replaced") {
  const Path card;
  REQUIRE_EQ(card.use(), 0);
  const ino_t first = card.inode();
  CHECK_EQ(card.use(), 0);
  CHECK_EQ(card.inode(), first);
  card.write(8, std::string(8, '\xff'));  // its layout
  CHECK_EQ(card.use(), 0);
  CHECK_NE(card.inode(), first);
}

TEST_CASE("a card's file that was never finished, or cut, is replaced") {
  const Path card;
  std::ofstream(card.str()) << std::string(4096, '\0');
  CHECK_EQ(card.use(), 0);
  REQUIRE_EQ(::truncate(card.str().c_str(), 1 << 20), 0);
  CHECK_EQ(card.use(), 0);
}

TEST_CASE("a file that is no card is left alone, and cuInit fails") {
  const Path card;
  std::ofstream(card.str()) << "a thesis, without a copy of it";
  CHECK_EQ(card.use(), 9);
  std::string text;
  std::getline(std::ifstream(card.str()), text);
  CHECK_EQ(text, "a thesis, without a copy of it");
}
