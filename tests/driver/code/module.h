// Code: modules (of a context) and libraries (of the process, loaded into a context when a kernel of theirs is first
// used there). Both are PTX text; a CUkernel is good wherever a CUfunction is.
#pragma once
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "tests/driver/context/context.h"
#include "tests/driver/ptx/ptx.h"

namespace lull::sim {

class CodeModule;

// What cuFuncSetBlockShape, cuParamSet* and their like have set for cuLaunch.
struct OldStyleLaunch {
  std::mutex mutex;
  std::array<int, 3> block{1, 1, 1};
  unsigned shared = 0;
  std::size_t parameter_bytes = 0;
  std::vector<std::byte> parameters;  // at least so many
};

struct Function {
  std::shared_ptr<CodeModule> module;
  const ptx::Kernel* kernel;
  std::atomic<int> dynamic_shared_limit{48 << 10};
  OldStyleLaunch old_style;
};

// Parsed code in a context: its variables have addresses, and its code is charged as native memory once it is loaded.
class CodeModule : public std::enable_shared_from_this<CodeModule> {
 public:
  static CUresult load(Context& context, std::shared_ptr<const ptx::Module> parsed, std::shared_ptr<CodeModule>& out);
  void unload();
  // Lazily the code comes with the first use of a kernel; it may find no memory then. Does nothing where it is there.
  CUresult load_code();
  bool code_loaded() const;

  std::shared_ptr<Function> function(std::string_view name);  // null: no such kernel
  const ptx::Variable* variable(std::string_view name, std::byte*& address) const;
  const ptx::Module& parsed() const { return *parsed_; }
  const std::vector<std::byte*>& variable_addresses() const { return addresses_; }
  const Context* context() const { return context_; }  // compared only

 private:
  CUresult place_variables(Context& context);
  bool fill_variables() const;

  Context* context_ = nullptr;
  Device* device_ = nullptr;
  std::shared_ptr<const Life> life_;
  std::shared_ptr<const ptx::Module> parsed_;
  std::vector<std::byte*> addresses_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Function>, std::less<>> functions_;
  bool loaded_ = false, code_loaded_ = false;
};

struct Library;
struct LibraryKernel {
  std::weak_ptr<Library> library;
  const ptx::Kernel* kernel;
};
struct Library : std::enable_shared_from_this<Library> {
  std::shared_ptr<const ptx::Module> parsed;
  std::mutex mutex;  // guards what follows
  std::map<const Context*, std::shared_ptr<CodeModule>> loaded;
  std::map<std::string, LibraryKernel*, std::less<>> kernels;

  CUresult load_into(Context& context, std::shared_ptr<CodeModule>& out);
};

void unload_modules_of(Context& context);

// What may be launched behind a CUfunction or a CUkernel in this context. 400 (invalid handle) if nothing.
CUresult find_function(CUfunction handle, Context& context, std::shared_ptr<Function>& out);
// The kernel behind either handle, without loading anything; null if there is none.
const ptx::Kernel* find_kernel(const void* handle);

}  // namespace lull::sim
